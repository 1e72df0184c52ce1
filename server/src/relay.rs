//! Requests that reach another server than the one that holds their session: brought to it, one hop, once.
//!
//! A session's id begins with the tag of its server. [`Relay::pass`] reads it in front of the engine (`passing`), finds the
//! owner among the members of the cluster and sends the request to its entrance (`entrance`), which hands it to the engine
//! and to nobody else. Who may enter is decided by a token that only members can make (`token`). Bytes of a WebSocket are
//! carried both ways until one end closes (`carrying`).
//!
//! A request is sent at most once: one whose fate is unknown is answered with `Session ID unknown`, whatever became of it,
//! and the client comes back into recovery. `docs/adr/0017-relay-by-tag.md` says why it is so.

mod address;
mod asking;
mod carried;
mod carrying;
mod entrance;
mod headers;
pub mod measures;
mod passing;
mod token;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use chatcluster_chat_api as api;
use chatcluster_engineio::SidTag;
use chatcluster_socketio_nats::{NatsCluster, RelayPlace};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::files;
use crate::node;
use carried::Carried;
use measures::Measures;
pub use passing::Passed;
use token::Secret;

/// How long a connection to another server may take; a server that is gone is known by its heartbeats soon after.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an idle connection to another server is kept: shorter than [`entrance::IDLE`], so that no request meets its end.
const KEPT: Duration = Duration::from_secs(15);
/// Idle connections that are kept to each other server.
const KEPT_CONNECTIONS: usize = 256;
/// What an answer may take beyond the time in which its owner gives up a silent client.
const SLACK: Duration = Duration::from_secs(5);
/// The shortest secret.
const LEAST_SECRET_BYTES: usize = 16;

/// This server's part in the relay. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    tag: SidTag,
    settings: api::Relay,
    nats: Vec<String>,
    /// Where the entrance listens, and its listener until it is served.
    address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    /// From the file, if there is one.
    secret: Option<Secret>,
    joined: OnceLock<Joined>,
    client: Client<HttpConnector, Full<Bytes>>,
    bounds: Bounds,
    /// One permit for each request or WebSocket under way; without one a request is refused.
    room: Arc<Semaphore>,
    carried: Carried,
    measures: Measures,
}

/// What is known once the cluster is joined.
struct Joined {
    cluster: NatsCluster,
    secret: Secret,
}

/// What relaying may take.
struct Bounds {
    /// The time for a request and its answer, and the longest silence on a WebSocket: beyond it the owner has given up the
    /// session.
    time: Duration,
    /// The longest body of a POST.
    max_payload: usize,
    /// The longest answer: packets that wait in the owner's send queue, larger by their encoding.
    max_answer: usize,
    /// Connections that the entrance takes.
    connections: usize,
}

impl Relay {
    /// Binds the entrance; nothing is let in, and nothing relayed, before [`open`](Self::open). `None` without a relay.
    ///
    /// # Errors
    /// The address is taken, or the file with the secret cannot be used.
    pub fn bind(config: &api::Config) -> anyhow::Result<Option<Self>> {
        let (Some(settings), Some(nats)) = (&config.relay, &config.nats) else {
            return Ok(None);
        };
        let secret = settings.secret_file.as_deref().map(|path| {
            let text = files::secret("relay.secretFile", path)?;
            let is_long = text.len() >= LEAST_SECRET_BYTES;
            anyhow::ensure!(
                is_long,
                "relay.secretFile: {} must hold {LEAST_SECRET_BYTES} bytes or more",
                path.display()
            );
            Ok(Secret::new(text.as_bytes()))
        });
        let secret = secret.transpose()?;
        let listener = TcpListener::bind(settings.listen)
            .with_context(|| format!("relay.listen: cannot listen on {}", settings.listen))?;
        listener.set_nonblocking(true)?;
        let engine = node::socket_config(config).engine;
        Ok(Some(Self(Arc::new(Shared {
            tag: SidTag::random(),
            settings: settings.clone(),
            nats: nats.urls.clone(),
            address: listener.local_addr()?,
            listener: Mutex::new(Some(listener)),
            secret,
            joined: OnceLock::new(),
            client: client(),
            bounds: Bounds {
                time: engine.longest_silence() + SLACK,
                max_payload: engine.max_payload,
                max_answer: engine.max_send_queue.saturating_mul(2),
                connections: node::http_connections(&config.limits),
            },
            room: Arc::new(Semaphore::new(
                config.limits.connections.min(Semaphore::MAX_PERMITS),
            )),
            carried: Carried::default(),
            measures: Measures::default(),
        }))))
    }

    /// What the ids of this server's sessions begin with.
    #[must_use]
    pub fn tag(&self) -> SidTag {
        self.0.tag
    }

    /// WebSockets of other servers' sessions that come through this one.
    #[must_use]
    pub fn carried_count(&self) -> usize {
        self.0.carried.count()
    }

    /// Ends this many of them: their clients come back through another server.
    pub fn end_carried(&self, count: usize) {
        self.0.carried.end(count);
    }

    /// What was counted.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.0.measures
    }

    /// Takes part: gets the secret and tells the other servers where the entrance is.
    ///
    /// # Errors
    /// NATS does not give the secret, or the address to tell cannot be found out; another attempt may succeed.
    pub async fn open(&self, cluster: &NatsCluster) -> anyhow::Result<()> {
        let secret = match &self.0.secret {
            Some(secret) => secret.clone(),
            None => Secret::new(cluster.peer_secret().await?.bytes()),
        };
        let address = address::advertised(&self.0.settings, self.0.address, &self.0.nats).await;
        let address = address.context("find out the address for relay.advertise")?;
        let cluster = cluster.clone();
        cluster.advertise(RelayPlace {
            tag: self.0.tag.to_string(),
            address,
        });
        // A server joins once.
        let _is_first = self.0.joined.set(Joined { cluster, secret });
        tracing::info!(%address, "taking requests from the other servers on http://{}", self.0.address);
        Ok(())
    }
}

/// One pool for all other servers. It must not send a request again by itself, as it would by default.
fn client() -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .set_host(false)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(KEPT_CONNECTIONS)
        .build(connector)
}
