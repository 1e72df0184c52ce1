//! The epoch: a counter in KV that changes whenever positions may have been given out a second time (semantics 10).
//!
//! It starts at the clock, in milliseconds, so that it rises even if its bucket is lost a moment after it was made, and is
//! raised by compare-and-set, so that all nodes that see the same accident agree on one new epoch.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::outside;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::cells::{Answer, Cells, Change, Write};
use crate::codec;

const KEY: &str = "epoch";
const DEADLINE: Duration = Duration::from_secs(2);
/// Nodes that raise it at the same time; each attempt but the last loses to one of them.
const ATTEMPTS: usize = 16;

/// The epoch cannot be read or raised.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The bucket cannot be opened.
    #[error("open the bucket {bucket}")]
    Open {
        /// Its name.
        bucket: String,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server did not answer in time.
    #[error("no answer about the epoch within {DEADLINE:?}: are the permissions complete?")]
    NoAnswer,
    /// The server refused.
    #[error("read or write the epoch")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too many nodes raise it at once.
    #[error("the epoch is being raised again and again")]
    Contended,
}

/// What the bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    /// When the stream was made whose positions these are, in nanoseconds since 1970: another stream is another epoch.
    pub(crate) stream_created: i64,
}

/// The epoch of one cluster's log.
#[derive(Clone)]
pub(crate) struct Epoch {
    cells: Arc<dyn Cells>,
}

impl Epoch {
    /// Kept in a bucket that is there.
    pub(crate) fn new(cells: Arc<dyn Cells>) -> Self {
        Self { cells }
    }

    /// The epoch of the stream made at that time; a new one if the bucket knows another stream, or none.
    pub(crate) async fn of(&self, stream_created: i64) -> Result<u64, EpochError> {
        for _ in 0..ATTEMPTS {
            match self.read().await? {
                (_, Some(stored)) if stored.stream_created == stream_created => {
                    return Ok(stored.epoch);
                }
                (revision, stored) => {
                    let before = stored.map_or(0, |stored| stored.epoch);
                    if let Some(epoch) = self.write(revision, before, stream_created).await? {
                        return Ok(epoch);
                    }
                }
            }
        }
        Err(EpochError::Contended)
    }

    /// Ends an epoch; if somebody else has done so already, theirs is the new one.
    pub(crate) async fn raise(&self, from: u64, stream_created: i64) -> Result<u64, EpochError> {
        for _ in 0..ATTEMPTS {
            let (revision, stored) = self.read().await?;
            if let Some(stored) = stored
                && stored.epoch > from
                && stored.stream_created == stream_created
            {
                return Ok(stored.epoch);
            }
            let before = stored.map_or(from, |stored| stored.epoch.max(from));
            if let Some(epoch) = self.write(revision, before, stream_created).await? {
                return Ok(epoch);
            }
        }
        Err(EpochError::Contended)
    }

    /// The key's revision, and what it holds: nothing if it was deleted, or cannot be read.
    async fn read(&self) -> Result<(u64, Option<Stored>), EpochError> {
        let found = timeout(DEADLINE, self.cells.read(KEY)).await;
        let found = found.map_err(|_| EpochError::NoAnswer)?;
        let found = found.map_err(|source| EpochError::Refused(source.into()))?;
        Ok(found.map_or((0, None), |found| {
            (found.revision, codec::decode(&found.value).ok())
        }))
    }

    /// Writes the epoch after `before`, unless somebody has written since `revision`.
    async fn write(
        &self,
        revision: u64,
        before: u64,
        stream_created: i64,
    ) -> Result<Option<u64>, EpochError> {
        let stored = Stored {
            epoch: (before + 1).max(by_clock()),
            stream_created,
        };
        let value = codec::encode(&stored).map_err(|source| EpochError::Refused(source.into()))?;
        let change = Change::Put { value, ttl: None };
        let write = Write::new(KEY.to_owned(), revision, change);
        let written = timeout(DEADLINE, self.cells.write(&write)).await;
        match written.map_err(|_| EpochError::NoAnswer)? {
            Ok(Answer::Stored(_)) => Ok(Some(stored.epoch)),
            Ok(Answer::Refused { .. }) => Ok(None),
            Err(error) => Err(EpochError::Refused(error.into())),
        }
    }
}

fn by_clock() -> u64 {
    u64::try_from(outside::since_1970().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{connect, names, ports};
    use async_nats::jetstream;
    use chatcluster_harness::nats::Options;
    use chatcluster_harness::{NatsServer, within};

    #[tokio::test]
    async fn an_epoch_that_was_deleted_or_overwritten_is_followed_by_a_later_one() {
        let server = NatsServer::start(Options::default()).await;
        let client = connect(server.address()).await;
        let meta = ports(&client).meta;
        within("the bucket", meta.ensure()).await.unwrap();
        let store = jetstream::new(client).get_key_value(names().meta()).await;
        let (store, epoch) = (store.unwrap(), Epoch::new(meta));
        let first = epoch.of(7).await.unwrap();
        assert_eq!(epoch.of(7).await.unwrap(), first);

        // It is enough that the clock has moved.
        let now = || outside::since_1970().as_millis();
        let before = now();
        while now() <= before {
            tokio::task::yield_now().await;
        }
        store.delete(KEY).await.unwrap();
        let second = epoch.of(7).await.unwrap();
        assert!(second > first, "{second}");

        store.put(KEY, "strange".into()).await.unwrap();
        let third = epoch.raise(second, 7).await.unwrap();
        assert!(third > second, "{third}");
    }
}
