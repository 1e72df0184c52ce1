//! Sees to it that the sessions of this node are stored as connected, also after others have taken the node for gone: cut off,
//! or stopped for a while, it cannot know for how long nobody has heard it.
//!
//! It looks for a notice (`sessions/notice.rs`), which costs one read of one key. Only what was swept is written.

use std::sync::Weak;
use std::time::Duration;

use chatcluster_socketio::adapter::Swept;
use chatcluster_socketio::session::{Revision, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::cluster::Shared;

/// How often a notice is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// After a notice was followed, doubled each time: until the sweep is over, and once more after that, for the sessions that were
/// on their way to their sockets.
const AGAIN: Duration = Duration::from_secs(5);
/// Times that one notice is followed at least.
const TIMES: u32 = 2;
/// Writes in flight: the living sessions share the broker.
const WRITES: usize = 32;

/// Runs as long as the cluster is used.
pub(crate) async fn run(cluster: Weak<Shared>) {
    let mut followed = Followed::default();
    loop {
        sleep(LOOK).await;
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        if let Err(error) = followed.look(&cluster).await {
            tracing::debug!(%error, "whether this node's sessions were swept is looked at again");
        }
    }
}

/// How far the notices were followed.
#[derive(Default)]
struct Followed {
    /// The one that is being followed, and how often it was.
    revision: Revision,
    times: u32,
    /// When that is done next.
    due: Option<Instant>,
    /// Nothing that was swept before this one is left.
    through: Revision,
}

impl Followed {
    async fn look(&mut self, cluster: &Shared) -> Result<(), StoreError> {
        let Some(told) = cluster.sessions.notice(&cluster.node).await? else {
            return Ok(());
        };
        // A replica that is behind may tell of an earlier one.
        if told.revision <= self.through || told.revision < self.revision {
            return Ok(());
        }
        if told.revision > self.revision {
            (self.revision, self.times, self.due) = (told.revision, 0, None);
        }
        if self.due.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        let between = (told.since().max(self.through + 1), told.revision);
        let sessions = &cluster.sessions;
        let assert = |swept| assert_all(cluster, swept);
        sessions.swept(&cluster.node, between, assert).await?;
        self.due = Some(Instant::now() + AGAIN * (1 << self.times.min(8)));
        self.times += 1;
        if told.notice.is_over && self.times >= TIMES {
            self.through = told.revision;
        }
        Ok(())
    }
}

/// Stores the sessions whose connections stand.
async fn assert_all(cluster: &Shared, swept: Vec<Swept>) -> Result<(), StoreError> {
    let outcomes = stream::iter(swept.into_iter().map(|swept| assert(cluster, swept)));
    let mut outcomes = outcomes.buffer_unordered(WRITES);
    let mut count = 0;
    while let Some(is_asserted) = outcomes.try_next().await? {
        if is_asserted {
            count += 1;
            cluster.counters.sessions_asserted.increment();
        }
    }
    if count > 0 {
        tracing::warn!(
            count,
            "this node was taken for gone: sessions whose clients are here are stored again"
        );
    }
    Ok(())
}

async fn assert(cluster: &Shared, swept: Swept) -> Result<bool, StoreError> {
    for local in cluster.locals() {
        if local.assert(swept).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
