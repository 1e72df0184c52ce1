//! The connection to NATS: noticed when it is dead within seconds, and made again for ever.
//!
//! Credentials and certificates are read each time that it is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::sync::watch;

use crate::counters::Counters;
use crate::credentials::Reader;
use crate::denials::Denials;
use crate::names::Names;
use crate::options::{Options, Tls};

/// Between two pings; after two without an answer the link is dead. The client's own default is a minute.
const PING: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two attempts, doubled each time up to the second figure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// NATS cannot be reached, or does not let this node in.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No server answered, or none with these credentials.
    #[error("connect to NATS at {servers}")]
    Connect {
        /// The addresses, without what is secret in them.
        servers: String,
        /// The cause.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The file cannot be read.
    #[error("read the NATS credentials file {path}")]
    ReadCredentials {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or a key cannot be read.
    #[error("read the NATS TLS file {path}")]
    ReadTls {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl ConnectionError {
    /// Whether another attempt would fail as well.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::ReadCredentials { .. } | Self::ReadTls { .. } => true,
            // Users and certificates can be mended at the server.
            Self::Connect { .. } => false,
        }
    }
}

/// Connects; also tells whenever a connection was made, the first one included.
pub(crate) async fn connect(
    options: &Options,
    names: &Names,
    counters: Arc<Counters>,
    denials: Arc<Denials>,
) -> Result<(Client, watch::Receiver<u64>), ConnectionError> {
    let (connections, connected) = watch::channel(0);
    let connecting = match Reader::open(&options.credentials)? {
        None => ConnectOptions::new(),
        Some(reader) => {
            ConnectOptions::with_auth_callback(move |nonce| Arc::clone(&reader).auth(nonce))
        }
    };
    let connecting = connecting
        .name(format!("chatcluster {}", names.prefix()))
        .custom_inbox_prefix(names.inbox())
        .ping_interval(PING)
        .connection_timeout(CONNECT)
        .reconnect_delay_callback(back_off)
        .event_callback(move |event| {
            if matches!(event, Event::Connected) {
                connections.send_modify(|n| *n += 1);
            }
            note(&event, &counters, &denials);
            std::future::ready(())
        });
    let connecting = with_tls(connecting, options)?;
    let servers = options.servers.join(",");
    let client = connecting
        .connect(&options.servers)
        .await
        .map_err(|source| ConnectionError::Connect {
            servers: without_secrets(&servers),
            source,
        })?;
    Ok((client, connected))
}

fn with_tls(
    mut connecting: ConnectOptions,
    options: &Options,
) -> Result<ConnectOptions, ConnectionError> {
    let Tls { roots, certificate } = &options.tls;
    if let Some(roots) = roots {
        connecting = connecting.add_root_certificates(readable(roots)?);
    }
    if let Some((certificate, key)) = certificate {
        connecting = connecting.add_client_certificate(readable(certificate)?, readable(key)?);
    }
    // A server tells addresses of others without a scheme: those must not be trusted with less.
    let is_secured = |server: &String| server.starts_with("tls://");
    Ok(connecting.require_tls(options.servers.iter().any(is_secured)))
}

/// The client library names no file when it cannot read one.
fn readable(path: &Path) -> Result<PathBuf, ConnectionError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(source) => Err(ConnectionError::ReadTls {
            path: path.display().to_string(),
            source,
        }),
    }
}

/// Addresses may hold `user:password@`.
fn without_secrets(servers: &str) -> String {
    let shown = servers
        .split(',')
        .map(|server| match server.rsplit_once('@') {
            Some((before, host)) => {
                let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
                format!("{scheme}://…@{host}")
            }
            None => server.to_owned(),
        });
    shown.collect::<Vec<_>>().join(",")
}

fn back_off(attempts: usize) -> Duration {
    let (first, most) = BACK_OFF;
    let doublings = u32::try_from(attempts.saturating_sub(1))
        .unwrap_or(8)
        .min(8);
    let wait = first.saturating_mul(1 << doublings).min(most);
    wait.mul_f64(rand::random_range(0.75..1.25))
}

fn note(event: &Event, counters: &Counters, denials: &Denials) {
    match event {
        Event::Connected => {
            denials.connected();
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            counters.connections_lost.increment();
            tracing::warn!("the connection to NATS is lost");
        }
        Event::SlowConsumer(_) => {
            counters.slow_consumers.increment();
            tracing::debug!("a subscription of this node is too slow");
        }
        Event::ServerError(ServerError::Other(error)) if denials.take(error, counters) => {}
        // An attempt to connect again failed, for one of these reasons: no server, no right to enter, no trust.
        Event::ClientError(error) => tracing::warn!(%error, "NATS"),
        other => tracing::info!(event = %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        let shown = without_secrets("nats://me:secret@a:4222,nats://b:4222");
        assert_eq!(shown, "nats://…@a:4222,nats://b:4222");
    }

    #[test]
    fn attempts_back_off_up_to_a_bound() {
        assert!(back_off(1) < Duration::from_millis(200));
        assert!(back_off(1000) <= BACK_OFF.1.mul_f64(1.25));
    }
}
