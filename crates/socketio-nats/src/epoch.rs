//! The epoch: a counter in KV that changes whenever positions may have been given out a second time (semantics 10).
//!
//! It starts at the clock, so that it rises even if its bucket is lost, and is raised by compare-and-set, so that all nodes
//! that see the same accident agree on one new epoch.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Store};
use async_nats::jetstream::{self, stream::StorageType};
use chatcluster_socketio::log::position_by_clock;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::codec;
use crate::names::Names;

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
struct Stored {
    epoch: u64,
    /// When the stream was made whose positions these are, in nanoseconds since 1970: another stream is another epoch.
    stream_created: i64,
}

/// The epoch of one cluster's log.
#[derive(Clone)]
pub(crate) struct Epoch {
    store: Store,
}

impl Epoch {
    /// Opens the bucket, made if absent.
    pub(crate) async fn open(
        jetstream: &jetstream::Context,
        names: &Names,
        replicas: usize,
        storage: StorageType,
    ) -> Result<Self, EpochError> {
        let bucket = names.meta();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| EpochError::Open {
            bucket: names.meta(),
            source,
        };
        let found = timeout(DEADLINE, jetstream.get_key_value(&bucket)).await;
        if let Ok(store) = found.map_err(|_| EpochError::NoAnswer)? {
            return Ok(Self { store });
        }
        let config = kv::Config {
            bucket: bucket.clone(),
            history: 1,
            num_replicas: replicas,
            storage,
            ..kv::Config::default()
        };
        let created = timeout(DEADLINE, jetstream.create_key_value(config)).await;
        let store = match created.map_err(|_| EpochError::NoAnswer)? {
            Ok(store) => store,
            // Another node was faster.
            Err(_) => timeout(DEADLINE, jetstream.get_key_value(&bucket))
                .await
                .map_err(|_| EpochError::NoAnswer)?
                .map_err(|source| failed(source.into()))?,
        };
        Ok(Self { store })
    }

    /// The bucket, for what else is kept there.
    pub(crate) fn store(&self) -> &Store {
        &self.store
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
        let entry = timeout(DEADLINE, self.store.entry(KEY)).await;
        let entry = entry.map_err(|_| EpochError::NoAnswer)?;
        let entry = entry.map_err(|source| EpochError::Refused(source.into()))?;
        Ok(entry.map_or((0, None), |entry| {
            (entry.revision, codec::decode(&entry.value).ok())
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
            epoch: (before + 1).max(position_by_clock() / 1_000_000),
            stream_created,
        };
        let value = codec::encode(&stored).map_err(|source| EpochError::Refused(source.into()))?;
        let written = timeout(DEADLINE, self.store.update(KEY, value, revision)).await;
        match written.map_err(|_| EpochError::NoAnswer)? {
            Ok(_) => Ok(Some(stored.epoch)),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(EpochError::Refused(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{connect, names};
    use chatcluster_harness::nats::Options;
    use chatcluster_harness::{NatsServer, within};

    #[tokio::test]
    async fn an_epoch_that_was_deleted_or_overwritten_is_followed_by_a_later_one() {
        let server = NatsServer::start(Options::default()).await;
        let jetstream = jetstream::new(connect(server.address()).await);
        let names = names();
        let opened = Epoch::open(&jetstream, &names, 1, StorageType::Memory);
        let epoch = within("the bucket", opened).await.unwrap();
        let first = epoch.of(7).await.unwrap();
        assert_eq!(epoch.of(7).await.unwrap(), first);

        // It is made of the clock, in seconds.
        let mut second = first;
        let later = async {
            while second <= first {
                epoch.store.delete(KEY).await.unwrap();
                second = epoch.of(7).await.unwrap();
            }
        };
        within("a later epoch", later).await;
        epoch.store.put(KEY, "strange".into()).await.unwrap();
        let third = epoch.raise(second, 7).await.unwrap();
        assert!(third > second, "{third}");
    }
}
