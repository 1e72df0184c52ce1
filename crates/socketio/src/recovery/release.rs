//! A connection has ended: what becomes of its session is stored, also if the store cannot be reached for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::adapter::Adapter;
use crate::session::{Record, Revision, StoreError};
use crate::sid::SessionKey;

/// Between two attempts, doubled each time up to the second figure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long it is attempted. After that the session stays until this node has gone and is swept.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The last write of a connection.
pub(super) struct Release {
    pub(super) key: SessionKey,
    pub(super) revision: Revision,
    pub(super) record: Record,
    /// How long the session waits for its client; `None` ends it.
    pub(super) window: Option<Duration>,
}

impl Release {
    pub(super) async fn store(&self, adapter: &dyn Adapter) -> Result<(), StoreError> {
        let sessions = adapter.sessions();
        match self.window {
            Some(window) => {
                let record = self.record.clone();
                sessions
                    .expire(self.key, self.revision, record, window)
                    .await
            }
            None => {
                let takeovers = self.record.takeovers;
                sessions.remove(self.key, self.revision, takeovers).await
            }
        }
    }

    /// Tries until the store answers: nobody else ends the sessions of a node that lives.
    pub(super) async fn store_later(self, adapter: Arc<dyn Adapter>) {
        let (mut pause, longest) = PAUSE;
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline {
            sleep(pause).await;
            pause = (pause * 2).min(longest);
            if self.store(&*adapter).await != Err(StoreError::Unreachable) {
                return;
            }
        }
        tracing::error!(
            "a session that has ended could not be written: it stays until this node is gone"
        );
    }
}
