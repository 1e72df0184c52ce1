//! The adapters that every suite runs over: one suite, no copies.

use std::collections::HashMap;
use std::sync::Arc;

use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::{Delivery, NodeId};

use chatcluster_socketio_nats::names::Names;
use chatcluster_socketio_nats::permissions::Permissions;
use chatcluster_socketio_nats::{Credentials, NatsCluster, Options};

use crate::nats::{NatsServer, User};

/// Makes the nodes of one cluster.
pub trait ClusterUnderTest: Send + Sync {
    /// The cluster as this node sees it; called once for each node.
    fn node(&self, node: NodeId) -> Arc<dyn Cluster>;

    /// How the namespaces under test deliver.
    fn delivery(&self) -> Delivery {
        Delivery::Logged
    }
}

/// A cluster whose namespaces under test have no log.
pub struct WithoutLog<C>(
    /// The cluster.
    pub C,
);

impl<C: ClusterUnderTest> ClusterUnderTest for WithoutLog<C> {
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        self.0.node(node)
    }

    fn delivery(&self) -> Delivery {
        Delivery::Ephemeral
    }
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
        Joining(Options::new(self.0.url(), "test")).node(node)
    }
}

/// A cluster on a server that is there, with all that its nodes are told about it.
pub struct Joining(
    /// What they are told.
    pub Options,
);

impl ClusterUnderTest for Joining {
    /// # Panics
    /// When the node cannot join.
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        let joining = NatsCluster::join(self.0.clone(), node, HashMap::new());
        let joined =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(joining));
        Arc::new(joined.expect("the node joins its cluster"))
    }
}

/// A cluster on a nats-server of its own, whose users may do what the documentation says and nothing else: one made the
/// stream and the buckets, all nodes are another.
pub struct OverGuardedNats {
    server: NatsServer,
}

impl OverGuardedNats {
    const FOUNDER: &str = "founder";
    const NODE: &str = "node";

    /// Starts the server, and lets the founder make what the nodes need.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start() -> Self {
        let names = Self::names();
        let user = |name: &str, permissions: &Permissions| User {
            name: name.to_owned(),
            password: name.to_owned(),
            permissions: permissions.render(),
        };
        let options = crate::nats::Options::default().with_users(&[
            user(Self::FOUNDER, &Permissions::founder(&names)),
            user(Self::NODE, &Permissions::node(&names)),
        ]);
        let guarded = Self {
            server: NatsServer::start(options).await,
        };
        let (founder, node) = (guarded.options(Self::FOUNDER), NodeId::new(Self::FOUNDER));
        let founder = NatsCluster::join(founder, node, HashMap::new()).await;
        founder.expect("the founder joins").close().await;
        guarded
    }

    /// Called when the case is done.
    ///
    /// # Panics
    /// When a node did what its user may not.
    pub fn finish(&self) {
        let violations = self.server.violations();
        assert!(violations.is_empty(), "denied: {violations:#?}");
    }

    /// A prefix of two parts: some names have a dot where others have none.
    fn names() -> Names {
        Names::new("guarded.test").expect("a good prefix")
    }

    fn options(&self, user: &str) -> Options {
        Options {
            credentials: Credentials::User {
                name: user.to_owned(),
                password: user.to_owned(),
            },
            ..Options::new(self.server.url(), Self::names().prefix())
        }
    }
}

impl ClusterUnderTest for OverGuardedNats {
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        Joining(self.options(Self::NODE)).node(node)
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
        mod guarded_nats {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let cluster = $crate::adapters::OverGuardedNats::start().await;
                    super::$case(&cluster).await;
                    cluster.finish();
                }
            )+
        }
    };
}

/// As [`over_each_adapter`], and once more over namespaces without a log.
#[macro_export]
macro_rules! over_each_adapter_and_delivery {
    ($($case:ident),+ $(,)?) => {
        $crate::over_each_adapter!($($case),+);
        $crate::over_each_adapter_without_log!($($case),+);
    };
}

/// Runs each case over namespaces without a log, of each adapter.
#[macro_export]
macro_rules! over_each_adapter_without_log {
    ($($case:ident),+ $(,)?) => {
        mod in_process_without_log {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    use $crate::adapters::{InProcess, WithoutLog};
                    super::$case(&WithoutLog(InProcess::default())).await;
                }
            )+
        }
        mod guarded_nats_without_log {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    use $crate::adapters::{OverGuardedNats, WithoutLog};
                    let cluster = WithoutLog(OverGuardedNats::start().await);
                    super::$case(&cluster).await;
                    cluster.0.finish();
                }
            )+
        }
    };
}
