//! The adapters that every suite runs over: one suite, no copies.

use std::sync::Arc;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::adapter::memory::Memory;

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
    };
}
