//! The in-process cluster: one node alone, or several in one process (`--nodes`), over one sequencer per namespace.
//!
//! The same promises as with a broker, within one process: one order for all nodes, sessions that any node recovers.

mod follower;
mod sequencer;
mod sessions;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{Adapter, Answers, Cast, Cluster, Local, Request};
use crate::config::Delivery;
use crate::counters::NotRecovered;
use crate::log::{
    AppendDone, AppendError, Appended, Entry, Envelope, Record, Store, position_by_clock,
};
use crate::session::Sessions;
use crate::sid::NodeId;

use follower::Follower;
use sequencer::Sequencer;
use sessions::MemorySessions;

/// What the nodes of one process share. Clone it for each node with [`Memory::node`].
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    epoch: u64,
    stores: HashMap<String, Arc<dyn Store>>,
    namespaces: Mutex<HashMap<String, Arc<Joined>>>,
}

/// One namespace of all nodes.
struct Joined {
    sequencer: Sequencer,
    sessions: MemorySessions,
    nodes: Mutex<Vec<Link>>,
}

#[derive(Clone)]
struct Link {
    node: NodeId,
    local: Weak<dyn Local>,
    follower: Arc<Follower>,
    runtime: Handle,
}

impl Memory {
    /// A cluster whose namespaces in `stores` keep their stored events durably.
    #[must_use]
    pub fn new(stores: HashMap<String, Arc<dyn Store>>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let epoch = now.unwrap_or_default().as_millis();
        Self {
            shared: Arc::new(Shared {
                // A restart is a new epoch: positions that were given out but not stored may come again.
                epoch: u64::try_from(epoch).unwrap_or(u64::MAX),
                stores,
                namespaces: Mutex::default(),
            }),
        }
    }

    /// The cluster as one node sees it.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        Arc::new(MemoryNode {
            shared: self.shared.clone(),
            node,
        })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(HashMap::new())
    }
}

struct MemoryNode {
    shared: Arc<Shared>,
    node: NodeId,
}

impl Cluster for MemoryNode {
    fn open(
        &self,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Arc<dyn Adapter> {
        let joined = self.shared.join(namespace);
        let follower = Follower::spawn(local.clone());
        joined.nodes.lock().push(Link {
            node: self.node.clone(),
            local,
            follower: follower.clone(),
            runtime: Handle::current(),
        });
        let (epoch, start_position) = match delivery {
            // From here on the follower gets every entry that the sequencer releases.
            Delivery::Logged => (self.shared.epoch, joined.sequencer.follow(follower.clone())),
            Delivery::Ephemeral => (0, 0),
        };
        Arc::new(MemoryAdapter {
            node: self.node.clone(),
            epoch,
            start_position,
            joined,
            follower,
        })
    }
}

impl Shared {
    fn join(&self, namespace: &str) -> Arc<Joined> {
        let mut namespaces = self.namespaces.lock();
        if let Some(joined) = namespaces.get(namespace) {
            return joined.clone();
        }
        let store = self.stores.get(namespace).cloned();
        let joined = Arc::new(Joined {
            sequencer: Sequencer::new(first_position(store.as_deref()), store),
            sessions: MemorySessions::default(),
            nodes: Mutex::default(),
        });
        namespaces.insert(namespace.to_owned(), joined.clone());
        joined
    }
}

/// Above everything that an earlier process can have given out (semantics 8).
fn first_position(store: Option<&dyn Store>) -> u64 {
    position_by_clock().max(store.map_or(0, |s| s.last_position() + 1))
}

struct MemoryAdapter {
    node: NodeId,
    epoch: u64,
    start_position: u64,
    joined: Arc<Joined>,
    follower: Arc<Follower>,
}

impl MemoryAdapter {
    fn others(&self) -> Vec<Link> {
        let nodes = self.joined.nodes.lock();
        nodes
            .iter()
            .filter(|l| l.node != self.node)
            .cloned()
            .collect()
    }
}

impl Adapter for MemoryAdapter {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn start_position(&self) -> u64 {
        self.start_position
    }

    fn read_log(
        &self,
        _: u64,
        _: u64,
    ) -> BoxFuture<'static, Result<Vec<Arc<Entry>>, NotRecovered>> {
        // The log of one process is what its nodes hold.
        Box::pin(std::future::ready(Err(NotRecovered::Gap)))
    }

    fn opened(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        let follower = self.follower.clone();
        let told = move |result: Result<Appended, AppendError>| match result {
            // Behind the entry itself: whoever is told has been delivered what it is told about.
            Ok(appended) => follower.push_decided(appended, done),
            Err(error) => done(Err(error)),
        };
        self.joined
            .sequencer
            .append(envelope, record, Box::new(told));
    }

    fn cast(&self, cast: Cast) {
        for link in self.joined.nodes.lock().iter() {
            // What is for this node too comes in order with the log.
            if link.node != self.node || !cast.is_for_others_only() {
                link.follower.push_cast(cast.clone());
            }
        }
    }

    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers> {
        let asked = self.others().into_iter().filter_map(|link| {
            let answer = link.local.upgrade()?.answer(request.clone());
            // On the other node's runtime: its sockets are served there.
            Some((link.node, link.runtime.spawn(answer)))
        });
        let asked: Vec<_> = asked.collect();
        Box::pin(async move {
            let waits = asked.into_iter().map(|(node, mut task)| async move {
                let answer = tokio::time::timeout(timeout, &mut task).await;
                if answer.is_err() {
                    task.abort();
                }
                (node, answer.ok().and_then(Result::ok))
            });
            let mut answers = Answers::default();
            for (node, answer) in join_all(waits).await {
                match answer {
                    Some(answer) => drop(answers.answers.insert(node, answer)),
                    None => answers.missing.push(node),
                }
            }
            answers
        })
    }

    fn node_count(&self) -> usize {
        self.joined.nodes.lock().len()
    }

    fn members_elsewhere(&self) -> usize {
        let others: Vec<_> = {
            let nodes = self.joined.nodes.lock();
            let others = nodes.iter().filter(|link| link.node != self.node);
            others.filter_map(|link| link.local.upgrade()).collect()
        };
        others.iter().map(|local| local.members()).sum()
    }

    fn sessions(&self) -> &dyn Sessions {
        &self.joined.sessions
    }

    fn close(&self) {
        self.joined.sequencer.unfollow(&self.follower);
        self.joined.nodes.lock().retain(|l| l.node != self.node);
        self.follower.close();
    }
}

impl Drop for MemoryAdapter {
    fn drop(&mut self) {
        self.close();
    }
}
