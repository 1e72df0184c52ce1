//! Sees to it that the sessions of nodes that are gone are swept: at the start, when everybody may have died at once, and
//! whenever a node has gone. One node does it for all.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::cluster::Shared;
use crate::peers::DEAD_AFTER;

/// How long a new node listens before it takes who is not heard for gone.
const SETTLE: Duration = DEAD_AFTER.saturating_mul(2);
/// After a sweep that could not be finished.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs as long as the cluster is used.
pub(crate) async fn run(
    cluster: Weak<Shared>,
    mut changes: watch::Receiver<u64>,
    window: Duration,
) {
    let settled = Instant::now() + SETTLE;
    let mut known = BTreeSet::new();
    let mut due = Some(settled);
    loop {
        tokio::select! {
            biased;
            changed = changes.changed() => {
                let (Ok(()), Some(cluster)) = (changed, cluster.upgrade()) else {
                    return;
                };
                let there: BTreeSet<_> = cluster.broker.peers.others().into_iter().collect();
                if !known.is_subset(&there) {
                    due = Some(Instant::now().max(settled));
                }
                known = there;
            }
            () = until(due) => {
                let Some(cluster) = cluster.upgrade() else {
                    return;
                };
                due = (!sweep(&cluster, window).await).then(|| Instant::now() + AGAIN);
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Whether it is done, or somebody else's.
async fn sweep(cluster: &Shared, window: Duration) -> bool {
    let peers = &cluster.broker.peers;
    if !peers.is_first() {
        // Whom this node has begun with while it was, it tells.
        return cluster.sessions.end_sweeps(window).await.is_ok();
    }
    let is_gone = |owner: &_| *owner != cluster.node && !peers.is_there(owner);
    match cluster.sessions.sweep(&is_gone, window).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, cause = std::error::Error::source(&error), "the sweep is tried again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use chatcluster_harness::nats::Options as ServerOptions;
    use chatcluster_harness::{NatsServer, until};
    use chatcluster_socketio::NodeId;

    use crate::{NatsCluster, Options};

    #[tokio::test]
    async fn sessions_of_a_cluster_that_died_whole_are_swept_by_the_next() {
        let server = NatsServer::start(ServerOptions::default()).await;
        let options = Options::new(server.url(), "test");
        let node = NodeId::new("next");
        let cluster = NatsCluster::join(options, node, HashMap::new())
            .await
            .unwrap();
        crate::testing::store_session(&cluster, "dead").await;
        crate::testing::store_session(&cluster, "next").await;
        cluster.sweep_sessions(super::SETTLE);
        until("the dead node's session is swept", || {
            cluster.counters().sessions_swept.get() == 1
        })
        .await;
        cluster.close().await;
    }
}
