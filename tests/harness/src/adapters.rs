//! The adapters that every suite runs over: one suite, no copies.

use std::collections::HashMap;
use std::sync::Arc;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::adapter::memory::Memory;

use crate::nats::NatsServer;

/// Makes the nodes of one cluster.
pub trait ClusterUnderTest: Send + Sync {
    /// The cluster as this node sees it; called once for each node.
    fn node(&self, node: NodeId) -> Arc<dyn Cluster>;
}

/// The in-process cluster.
#[derive(Default)]
pub struct InProcess(Memory);

impl ClusterUnderTest for InProcess {
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        self.0.node(node)
    }
}

/// A cluster on a nats-server of its own.
pub struct OverNats(
    /// The server, for those who want to hurt it.
    pub NatsServer,
);

impl OverNats {
    /// Starts the server.
    pub async fn start() -> Self {
        Self(NatsServer::start(crate::nats::Options::default()).await)
    }
}

impl ClusterUnderTest for OverNats {
    /// # Panics
    /// When the node cannot join.
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        let options = chatcluster_socketio_nats::Options::new(self.0.url(), "test");
        let joining = chatcluster_socketio_nats::NatsCluster::join(options, node, HashMap::new());
        let joined =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(joining));
        Arc::new(joined.expect("the node joins its cluster"))
    }
}

/// Runs each case, an `async fn(&dyn ClusterUnderTest)`, over a new cluster of each adapter.
#[macro_export]
macro_rules! over_each_adapter {
    ($($case:ident),+ $(,)?) => {
        mod in_process {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&$crate::adapters::InProcess::default()).await;
                }
            )+
        }
        mod nats {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&$crate::adapters::OverNats::start().await).await;
                }
            )+
        }
    };
}
