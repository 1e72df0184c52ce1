//! Several nodes of a server in this process, each on its own port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chatcluster_socketio::engineio::serve;
use chatcluster_socketio::{Config, Namespace, NodeId, SocketIo, SocketRef};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::adapters::ClusterUnderTest;
use crate::client::{Carried, Client};
use crate::gate::{Gate, GatedCluster};
use crate::wait::{until, within};

/// How long a node may take to close its connections.
pub const CLOSE_BOUND: Duration = Duration::from_secs(2);

/// A server on a port.
pub struct Node {
    /// The server.
    pub io: SocketIo,
    /// Where it listens.
    pub address: SocketAddr,
    /// Holds back what the other nodes send it.
    pub gate: Gate,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Node {
    /// Its namespace `/`.
    ///
    /// # Panics
    /// When the test has not set it up.
    #[must_use]
    pub fn main(&self) -> Arc<Namespace> {
        self.io.of("/").expect("the test sets up /")
    }

    /// The socket that a client has here.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn socket(&self, sid: &str) -> SocketRef {
        self.find_socket(sid)
            .unwrap_or_else(|| panic!("no socket {sid} on this node"))
    }

    /// The socket with this id, if it is connected here.
    #[must_use]
    pub fn find_socket(&self, sid: &str) -> Option<SocketRef> {
        let sockets = self.main().local_sockets();
        sockets.into_iter().find(|s| s.id().to_string() == sid)
    }

    /// Connects a client to `/`.
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Connects the client that had this session.
    pub async fn resume(&self, carried: &Carried) -> Client {
        Client::resume(self.address, carried).await
    }

    /// Resolves when the node knows that the connection of this socket has ended.
    pub async fn misses(&self, sid: &str) {
        until("the node notices that the client is gone", || {
            self.find_socket(sid).is_none()
        })
        .await;
    }

    async fn start(
        id: &str,
        config: Config,
        cluster: &dyn ClusterUnderTest,
        set_up: impl FnOnce(&SocketIo),
    ) -> Self {
        let gate = Gate::default();
        let cluster = GatedCluster::new(cluster.node(NodeId::new(id)), gate.clone());
        let io = SocketIo::builder()
            .config(config)
            .cluster(Arc::new(cluster))
            .build()
            .expect("a configuration that can be used");
        set_up(&io);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel();
        let options = serve::Options {
            grace: CLOSE_BOUND,
            ..serve::Options::default()
        };
        let serving = tokio::spawn(serve::serve(listener, io.service(), options, stopped));
        Self {
            io,
            address,
            gate,
            stop,
            serving,
        }
    }

    /// Closes all connections and stops listening.
    ///
    /// # Panics
    /// When the node's accept loop has panicked.
    pub async fn stop(self) {
        self.gate.open();
        self.io.close(CLOSE_BOUND).await;
        drop(self.stop);
        within("the node stops", self.serving)
            .await
            .expect("the accept loop ends orderly");
    }
}

/// The nodes of one cluster.
pub struct Nodes(Vec<Node>);

impl std::ops::Deref for Nodes {
    type Target = [Node];
    fn deref(&self) -> &[Node] {
        &self.0
    }
}

impl Nodes {
    /// Starts nodes named `n0`, `n1` … `set_up` is called for each with its index.
    pub async fn start(
        count: usize,
        config: &Config,
        cluster: &dyn ClusterUnderTest,
        set_up: impl Fn(&SocketIo, usize),
    ) -> Self {
        let mut nodes = Vec::new();
        for index in 0..count {
            let id = format!("n{index}");
            let node = Node::start(&id, config.clone(), cluster, |io| set_up(io, index));
            nodes.push(node.await);
        }
        for namespace in nodes.iter().flat_map(|node| node.io.namespaces()) {
            namespace.opened().await;
        }
        until("every node knows the others", || {
            nodes.iter().all(|node| {
                node.io
                    .of("/")
                    .is_none_or(|main| main.node_count() == count)
            })
        })
        .await;
        Self(nodes)
    }

    /// Starts nodes whose `/` does nothing by itself.
    pub async fn plain(count: usize, config: &Config, cluster: &dyn ClusterUnderTest) -> Self {
        Self::start(count, config, cluster, |io, _| {
            io.ns_with("/", cluster.delivery(), async || {});
        })
        .await
    }

    /// Takes a node out, to stop it by itself.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn take(&mut self, index: usize) -> Node {
        self.0.remove(index)
    }

    /// Stops all nodes.
    pub async fn stop(self) {
        for node in self.0 {
            node.stop().await;
        }
    }

    /// Sends an event from each node to everybody and waits until each of these clients has them all: whatever any node
    /// appended before has then been received by whoever receives it.
    pub async fn fence(&self, clients: &[&Client]) {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let marks = self.0.iter().map(|node| {
            let mark = MARKS.fetch_add(1, Ordering::Relaxed);
            let emitted = node.main().emit("fence", &mark);
            emitted.expect("an event that can be written");
            mark
        });
        let marks: Vec<u64> = marks.collect();
        for client in clients {
            for mark in &marks {
                let is_mark = |r: &crate::Received| {
                    let event = r.event();
                    event.is_some_and(|e| e.name == "fence" && e.args[0] == *mark)
                };
                client
                    .wait("the fence", |received| {
                        received.iter().rev().any(is_mark).then_some(())
                    })
                    .await;
            }
        }
    }
}
