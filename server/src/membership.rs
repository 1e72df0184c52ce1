//! This server's place in a cluster on NATS: joined while the server listens already, and again until it succeeds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chatcluster_chat_api as api;
use chatcluster_socketio::NodeId;
use chatcluster_socketio_nats as nats;
use chatcluster_socketio_nats::{Credentials, NatsCluster, ReadModel};
use parking_lot::Mutex;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::files::secret;
use crate::history::History;
use crate::relay::Relay;

/// Between two attempts to join, doubled each time up to the second figure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// How long leaving may take; what is on its way into the log by then has no fate.
const LEAVE: Duration = Duration::from_secs(5);
/// The namespace whose messages are stored.
const CHAT: &str = "/";

/// One server of a cluster.
pub struct Membership {
    options: nats::Options,
    node: NodeId,
    session_window: Option<Duration>,
    history: Arc<History>,
    relay: Option<Relay>,
    joined: OnceLock<NatsCluster>,
    obstacle: Mutex<String>,
    is_serving: AtomicBool,
    is_handed_over: AtomicBool,
}

impl Membership {
    /// What the configuration says; nothing is connected yet. `span` is how long log entries matter to clients, and the time
    /// that sessions of a dead server are kept, if they are recovered.
    ///
    /// # Errors
    /// A file with a secret cannot be read.
    pub fn new(
        config: &api::Nats,
        retention: Option<Duration>,
        (span, session_window): (Duration, Option<Duration>),
        history: Arc<History>,
    ) -> anyhow::Result<Self> {
        let options = nats::Options {
            servers: config.urls.clone(),
            prefix: config.prefix.clone(),
            credentials: credentials(&config.credentials)?,
            tls: nats::Tls {
                roots: config.tls.ca_file.clone(),
                certificate: config.tls.cert.clone(),
            },
            replicas: config.replicas,
            storage: match config.storage {
                api::NatsStorage::File => nats::StorageType::File,
                api::NatsStorage::Memory => nats::StorageType::Memory,
            },
            // Zero keeps it for ever.
            retention: retention.unwrap_or_default(),
            retention_bytes: config.retention_bytes,
            window: span,
        };
        Ok(Self {
            options,
            node: incarnation(),
            session_window,
            history,
            relay: None,
            joined: OnceLock::new(),
            obstacle: Mutex::new("NATS has not been reached yet".to_owned()),
            is_serving: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
        })
    }

    /// With what brings requests to other servers, and takes theirs.
    #[must_use]
    pub fn with_relay(mut self, relay: Option<Relay>) -> Self {
        self.relay = relay;
        self
    }

    /// What brings requests to other servers.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// This process among the cluster's; another one after a restart.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The cluster, once it is joined.
    #[must_use]
    pub fn cluster(&self) -> Option<&NatsCluster> {
        self.joined.get()
    }

    /// Joins, however long it takes; [`check`](Self::check) says what is in the way.
    ///
    /// # Errors
    /// What no further attempt can mend: settings that are not those of the cluster that is there.
    pub async fn join(&self) -> anyhow::Result<NatsCluster> {
        let (mut wait, longest) = BACK_OFF;
        loop {
            match self.try_join().await {
                Ok(cluster) => {
                    if let Some(window) = self.session_window {
                        cluster.sweep_sessions(window);
                    }
                    tracing::info!(node = %self.node, prefix = self.options.prefix, "joined the cluster on NATS");
                    return Ok(self.joined.get_or_init(|| cluster).clone());
                }
                Err(Obstacle::Lasting(error)) => return Err(error),
                Err(Obstacle::Passing(reason)) => {
                    tracing::warn!(reason, "the cluster on NATS cannot be joined yet");
                    *self.obstacle.lock() = reason;
                }
            }
            sleep(wait.mul_f64(rand::random_range(0.75..1.25))).await;
            wait = (wait * 2).min(longest);
        }
    }

    async fn try_join(&self) -> Result<NatsCluster, Obstacle> {
        let history: Arc<dyn ReadModel> = self.history.clone();
        let models = HashMap::from([(CHAT.to_owned(), history)]);
        let joining = NatsCluster::join(self.options.clone(), self.node.clone(), models);
        match tokio::time::timeout(ATTEMPT, joining).await {
            Ok(Ok(cluster)) => self.open_relay(cluster).await,
            Ok(Err(error)) if error.is_lasting() => Err(Obstacle::Lasting(
                anyhow::Error::new(error).context("join the cluster on NATS"),
            )),
            Ok(Err(error)) => Err(Obstacle::Passing(format!(
                "{:#}",
                anyhow::Error::new(error)
            ))),
            Err(_) => Err(Obstacle::Passing(format!("no answer within {ATTEMPT:?}"))),
        }
    }

    async fn open_relay(&self, cluster: NatsCluster) -> Result<NatsCluster, Obstacle> {
        let Some(relay) = &self.relay else {
            return Ok(cluster);
        };
        match relay.open(&cluster).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.close().await;
                Err(Obstacle::Passing(format!("{error:#}")))
            }
        }
    }

    /// Whether clients are served as they should be; the reason is for operators.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        let Some(cluster) = self.joined.get() else {
            return Err(self.obstacle.lock().clone());
        };
        // What is denied may be why the log cannot be read: it says more.
        if let Some(denied) = cluster.denied() {
            return Err(format!("NATS denies this server: {denied}"));
        }
        if let Some(trouble) = cluster.trouble() {
            return Err(trouble);
        }
        match cluster.behind() {
            0 if self.is_serving.load(Ordering::Acquire) => Ok(()),
            0 => Err("clients are about to be let in".to_owned()),
            behind => Err(format!("{behind} messages of the log are still to be read")),
        }
    }

    /// Clients are let in from now on.
    pub fn serve(&self) {
        self.is_serving.store(true, Ordering::Release);
    }

    /// Whether the log is being read now.
    #[must_use]
    pub fn reads_the_log(&self) -> bool {
        let cluster = self.joined.get();
        cluster.is_some_and(|cluster| cluster.trouble().is_none())
    }

    /// Says whether clients are sent to the other servers, because this one cannot serve them.
    pub fn hand_over(&self, is_handed_over: bool) {
        self.is_handed_over.store(is_handed_over, Ordering::Release);
    }

    /// Whether they are.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// Whether everything in the log has been read: before that, old messages would be delivered as new ones.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        self.joined
            .get()
            .is_some_and(|cluster| cluster.behind() == 0)
    }

    /// Says how far reading the log is until it has been read.
    pub async fn report_progress(&self, cluster: &NatsCluster) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.tick().await;
        let caught_up = cluster.caught_up();
        tokio::pin!(caught_up);
        loop {
            tokio::select! {
                () = &mut caught_up => return,
                _ = ticks.tick() => tracing::info!(behind = cluster.behind(), "reading the log"),
            }
        }
    }

    /// Leaves, once what is on its way into the log is there.
    pub async fn leave(&self) {
        let Some(cluster) = self.joined.get() else {
            return;
        };
        let deadline = Instant::now() + LEAVE;
        let published = async {
            while cluster.publishes_waiting() > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout_at(deadline, published).await.is_err() {
            let messages = cluster.publishes_waiting();
            tracing::warn!(
                messages,
                "left without knowing whether they are in the log; nobody was told that they are"
            );
        }
        if timeout_at(deadline + Duration::from_secs(1), cluster.close())
            .await
            .is_err()
        {
            tracing::warn!("left the cluster without a farewell");
        }
    }
}

/// Why an attempt to join failed.
enum Obstacle {
    Passing(String),
    Lasting(anyhow::Error),
}

/// A name that no other process has, with the host in front for those who read it.
fn incarnation() -> NodeId {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    NodeId::new(&format!("{host}-{:06x}", rand::random::<u32>() & 0xff_ffff))
}

/// Their files are read for each connection, and looked at here so that what is wrong is told before anything is served.
fn credentials(config: &api::NatsCredentials) -> anyhow::Result<Credentials> {
    Ok(match config {
        api::NatsCredentials::None => Credentials::None,
        api::NatsCredentials::User {
            name,
            password_file,
        } => {
            secret("nats.passwordFile", password_file)?;
            Credentials::UserFile {
                name: name.clone(),
                file: password_file.clone(),
            }
        }
        api::NatsCredentials::Token { file } => {
            secret("nats.tokenFile", file)?;
            Credentials::TokenFile(file.clone())
        }
        api::NatsCredentials::File(path) => Credentials::File(path.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_host_have_different_names() {
        assert_ne!(incarnation(), incarnation());
    }
}
