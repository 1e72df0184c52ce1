//! Who is there: heartbeats, farewells, and who is found dead.
//!
//! Every node publishes a heartbeat each second, at once when it starts, and at once when it hears one that it did not know:
//! so a new node knows the others within a round trip. A node that closes says farewell and is forgotten. One that is silent
//! for [`DEAD_AFTER`] is dead, and reported.
//!
//! A node judges the silence of others only while it hears itself: its own heartbeats come back to it on the subscription
//! on which it hears the others. One that was cut off, or stood still, finds nobody dead for that: when it hears itself
//! again, everybody's time begins anew. (So the connection must not be opened with `no_echo`.)

mod table;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chatcluster_socketio::{NodeId, outside};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::codec;
use crate::counters::Counters;
use crate::names::Names;
use crate::ports::{Letters, Wire};
use table::{Heard, Said, Table};

/// How often a node says that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Who was not heard for this long is dead: three heartbeats and a bit.
pub(crate) const DEAD_AFTER: Duration = Duration::from_millis(3500);
/// How often silence is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Heartbeats follow each other no faster, however many new nodes are to be greeted.
const GREETING_GAP: Duration = Duration::from_millis(20);
/// How long a start waits for its own first heartbeat.
const JOIN_TIME: Duration = Duration::from_secs(5);
/// How long a farewell may take.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// A heartbeat is small; what is larger is not one.
const MAX_BYTES: usize = 1024;

/// The node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The client refused.
    #[error("subscribe to heartbeats")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// The own heartbeat did not come back: no connection, no permission, or `no_echo`.
    #[error("hear the own heartbeat within {JOIN_TIME:?}: are the permissions complete?")]
    Unheard,
}

/// Where a node takes requests of sessions that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayPlace {
    /// What the ids of its sessions begin with.
    pub tag: String,
    /// Where it listens, as others reach it.
    pub address: SocketAddr,
}

/// What nodes tell everybody.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Note {
    Heartbeat {
        node: NodeId,
        /// Random at each start: tells two processes of one name apart.
        incarnation: u64,
        /// Whether the node can follow the log.
        has_log: bool,
        /// Sockets connected to it.
        #[serde(default)]
        members: u32,
        /// Last, and left out if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relay: Option<RelayPlace>,
    },
    Farewell {
        node: NodeId,
        incarnation: u64,
    },
}

/// Counts the sockets of a node.
pub(crate) type Count = Box<dyn Fn() -> usize + Send + Sync>;

/// The nodes of the cluster, as this node sees them.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    /// Ended with this struct.
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    wire: Arc<dyn Wire>,
    subject: String,
    node: NodeId,
    incarnation: u64,
    counters: Arc<Counters>,
    has_log: watch::Sender<bool>,
    relay: Mutex<Option<RelayPlace>>,
    /// Counts the sockets of this node.
    count: OnceLock<Count>,
    table: Mutex<Table>,
    /// A heartbeat is wanted now.
    greet: Notify,
    /// Raised when somebody came or went.
    changes: watch::Sender<u64>,
    /// Raised when the own heartbeat came back.
    heard: watch::Sender<bool>,
    closing: watch::Sender<bool>,
}

impl Peers {
    /// Takes part. Resolves when the broker has brought the own heartbeat back, so that every later one of others arrives.
    ///
    /// Its tasks run on the current runtime, and end with [`Peers::close`] or with this struct.
    pub(crate) async fn join(
        wire: Arc<dyn Wire>,
        names: Names,
        node: NodeId,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, JoinError> {
        let subject = names.node();
        let heartbeats = wire.subscribe(subject.clone().into()).await;
        let heartbeats = heartbeats.map_err(JoinError::Subscribe)?;
        let shared = Arc::new(Shared {
            wire,
            subject,
            node,
            incarnation: outside::random(),
            counters,
            has_log: watch::Sender::new(false),
            relay: Mutex::default(),
            count: OnceLock::new(),
            table: Mutex::default(),
            greet: Notify::new(),
            changes: watch::Sender::new(0),
            heard: watch::Sender::new(false),
            closing: watch::Sender::new(false),
        });
        let mut heard = shared.heard.subscribe();
        let closing = shared.closing.subscribe();
        // From here on an early return ends the tasks.
        let peers = Arc::new(Self {
            tasks: [
                tokio::spawn(listen(shared.clone(), heartbeats)),
                tokio::spawn(speak(shared.clone(), closing)),
            ],
            shared,
        });
        match timeout(JOIN_TIME, heard.wait_for(|heard| *heard)).await {
            Ok(Ok(_)) => Ok(peers),
            Ok(Err(_)) | Err(_) => Err(JoinError::Unheard),
        }
    }

    /// This node.
    pub(crate) fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// How many nodes there are, this one included.
    pub(crate) fn count(&self) -> usize {
        self.shared.table.lock().len() + 1
    }

    /// The other nodes, by name.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.shared.table.lock().nodes(|_| true)
    }

    /// The other nodes that can follow the log, by their last heartbeat.
    pub(crate) fn others_with_log(&self) -> Vec<NodeId> {
        self.shared.table.lock().nodes(|has_log| has_log)
    }

    /// Where another node takes requests of sessions with this tag.
    pub(crate) fn by_tag(&self, tag: &str) -> Option<SocketAddr> {
        self.shared.table.lock().by_tag(tag)
    }

    pub(crate) fn places(&self) -> Vec<RelayPlace> {
        self.shared.table.lock().places()
    }

    /// Sockets connected to the other nodes, by their last heartbeats.
    pub(crate) fn members(&self) -> usize {
        self.shared.table.lock().members()
    }

    /// What the others are told from here on of the sockets of this node. Only the first time.
    pub(crate) fn count_members(&self, count: Count) {
        // Whoever came first counts the same ones.
        let _first = self.shared.count.set(count);
    }

    /// Whether another node is known and neither dead nor gone.
    pub(crate) fn is_there(&self, node: &NodeId) -> bool {
        self.shared.table.lock().contains(node)
    }

    /// Tells whenever another node came, went or was found dead.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Whether this node is the first of those that are there: what one node has to do for all is its task.
    pub(crate) fn is_first(&self) -> bool {
        let first = self.others().into_iter().min();
        first.is_none_or(|first| self.shared.node < first)
    }

    /// Says whether this node can follow the log; the others are told at once.
    pub(crate) fn set_has_log(&self, has_log: bool) {
        let old = self.shared.has_log.send_replace(has_log);
        if old != has_log {
            self.shared.greet.notify_one();
        }
    }

    /// Says where this node takes requests; the others are told at once.
    pub(crate) fn advertise(&self, place: RelayPlace) {
        *self.shared.relay.lock() = Some(place);
        self.shared.greet.notify_one();
    }

    /// Says farewell and ends; at most [`FAREWELL_TIME`].
    pub(crate) async fn close(&self) {
        self.shared.closing.send_replace(true);
        // Its only receiver is the speaker's, which ends with the farewell.
        let ended = self.shared.closing.closed();
        if timeout(FAREWELL_TIME, ended).await.is_err() {
            tracing::warn!(node = %self.shared.node, "no farewell: the broker did not take it in time");
        }
        self.end();
    }

    fn end(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.end();
    }
}

/// Hears the others, and itself.
async fn listen(shared: Arc<Shared>, mut heartbeats: Letters) {
    // What is done with one is short, and waits for nobody: the subscription never fills.
    while let Some(message) = heartbeats.next().await {
        if message.payload.len() > MAX_BYTES {
            shared.counters.messages_unreadable.increment();
            continue;
        }
        match codec::decode(&message.payload) {
            Ok(note) => shared.hear(note),
            Err(error) => {
                shared.counters.messages_unreadable.increment();
                tracing::debug!(%error, "a heartbeat that this node cannot read");
            }
        }
    }
}

/// Heartbeats, and looks for who has none.
async fn speak(shared: Arc<Shared>, mut closing: watch::Receiver<bool>) {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = closing.changed() => break,
            _ = heartbeat.tick() => shared.heartbeat().await,
            () = shared.greet.notified() => {
                shared.heartbeat().await;
                heartbeat.reset();
                tokio::time::sleep(GREETING_GAP).await;
            }
            _ = look.tick() => shared.bury(),
        }
    }
    shared.farewell().await;
}

impl Shared {
    fn hear(&self, note: Note) {
        let now = Instant::now();
        match note {
            Note::Heartbeat {
                node, incarnation, ..
            } if node == self.node => return self.hear_self(incarnation, now),
            Note::Heartbeat {
                node,
                incarnation,
                has_log,
                members,
                relay,
            } => {
                let said = Said {
                    incarnation,
                    has_log,
                    relay,
                };
                let heard = self.table.lock().hear(&node, said, members, now);
                match heard {
                    Heard::Known => return,
                    Heard::Full => return self.counters.heartbeats_refused.increment(),
                    Heard::Changed => {}
                    Heard::New => {
                        tracing::info!(%node, "another node is there");
                        self.greet.notify_one();
                    }
                }
            }
            Note::Farewell { node, incarnation } => {
                if !self.table.lock().remove(&node, incarnation) {
                    return;
                }
                tracing::info!(%node, "another node said farewell");
            }
        }
        self.changes.send_modify(|n| *n += 1);
    }

    fn hear_self(&self, incarnation: u64, now: Instant) {
        if incarnation != self.incarnation {
            self.counters.heartbeats_refused.increment();
            tracing::error!(node = %self.node, "another process has this node's name: both must not serve at once");
            return;
        }
        self.table.lock().hear_self(now);
        self.heard.send_replace(true);
    }

    /// Finds who is dead.
    fn bury(&self) {
        let dead = self.table.lock().bury(Instant::now());
        for node in dead {
            self.counters.nodes_dead.increment();
            tracing::warn!(%node, "another node is dead: not heard for {DEAD_AFTER:?}");
            self.changes.send_modify(|n| *n += 1);
        }
    }

    async fn heartbeat(&self) {
        let members = self.count.get().map_or(0, |count| count());
        let note = Note::Heartbeat {
            node: self.node.clone(),
            incarnation: self.incarnation,
            has_log: *self.has_log.borrow(),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            relay: self.relay.lock().clone(),
        };
        self.say(&note).await;
    }

    async fn farewell(&self) {
        let note = Note::Farewell {
            node: self.node.clone(),
            incarnation: self.incarnation,
        };
        self.say(&note).await;
        // After that nobody can be told.
        drop(timeout(FAREWELL_TIME, self.wire.flush()).await);
    }

    /// Without a connection nothing is said: it would be said later, and be old.
    async fn say(&self, note: &Note) {
        if !self.wire.is_connected() {
            return;
        }
        let bytes = match codec::encode(note) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!(%error, "encode a heartbeat"),
        };
        let said = timeout(
            HEARTBEAT,
            self.wire.publish(self.subject.clone().into(), None, bytes),
        )
        .await;
        if let Ok(Err(error)) = said {
            tracing::warn!(%error, "publish a heartbeat");
        }
    }
}

#[cfg(test)]
mod tests;
