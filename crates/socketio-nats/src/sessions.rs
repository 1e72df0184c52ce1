//! Sessions of a cluster, in a KV bucket.
//!
//! - **One writer at a time.** Every write names the revision that it replaces, and a refused one reads what is there before
//!   it says why.
//! - **Unknown outcomes.** A write that is not answered may have been stored. Each carries an id of its own, by which its
//!   writer knows it again: when it tries once more, and also in the next call ([`unsettled`]).
//! - **Expiry.** The broker's, per key: a session has none while it is connected, so a killed node's sessions stay until a
//!   living node has swept them ([`KvSessions::sweep`]).
//! - **Taken for gone.** Who sweeps may be wrong. Its write changes no owner and no number of takeovers, so an owner that finds
//!   it knows that nobody has the session but itself, and writes over it; and it is told to look ([`notice`]).
//!
//! Reads are direct: any replica answers, and one that lags answers with the past. A revision from there is refused when it
//! is written over; it never leads to a wrong write.

mod bucket;
mod notice;
mod sweep;
#[cfg(test)]
mod tests;
mod unsettled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::session::{Record, Revision, Sessions, StoreError};
use chatcluster_socketio::{NodeId, SessionKey};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cells::{self, Answer, Cells, Change, Found, Write, WriteId};
use crate::codec;
use crate::counters::Counters;
use crate::names::session_key;

pub use bucket::BucketError;
pub(crate) use bucket::ensure_bucket;
#[cfg(test)]
pub(crate) use notice::Notice;

use unsettled::Unsettled;

/// How long one call may take, retries included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// How long one try may take: a request that was lost with its connection is worth a second one.
const TRY: Duration = Duration::from_millis(700);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the broker keeps the mark of a removal. Longer than [`DEADLINE`], so that a removal without an answer is found.
const MARK: Duration = Duration::from_secs(3);

/// The sessions of a cluster.
pub(crate) struct KvSessions {
    cells: Arc<dyn Cells>,
    unsettled: Unsettled,
    /// Nodes whose sessions are being swept here, and the revision of the notice that told them so.
    sweeping: Mutex<BTreeMap<NodeId, Revision>>,
    counters: Arc<Counters>,
}

impl KvSessions {
    /// Sessions in a bucket that is there.
    pub(crate) fn new(cells: Arc<dyn Cells>, counters: Arc<Counters>) -> Self {
        Self {
            cells,
            unsettled: Unsettled::default(),
            sweeping: Mutex::default(),
            counters,
        }
    }

    /// What is stored, unless it has expired.
    async fn read(&self, key: &str) -> Result<(Record, Revision), StoreError> {
        self.counters.session_reads.increment();
        let deadline = Instant::now() + DEADLINE;
        let found = loop {
            match self.attempt(deadline, self.cells.read(key)).await? {
                Ok(found) => break found,
                Err(error) => self.pause(deadline, &error).await?,
            }
        };
        let found = found.filter(|f| !f.is_mark).ok_or(StoreError::Gone)?;
        match codec::decode(&found.value) {
            Ok(record) => Ok((record, found.revision)),
            Err(error) => {
                self.unreadable(&error);
                Err(StoreError::Gone)
            }
        }
    }

    /// Writes; who owns the session says by which takeover. `own` are the ids of earlier writes of the same writer that may be
    /// what is there now.
    async fn write(
        &self,
        mut write: Write,
        takeovers: Option<u32>,
        own: &[WriteId],
    ) -> Result<Revision, StoreError> {
        self.counters.session_writes.increment();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let at_least = match self.attempt(deadline, self.cells.write(&write)).await? {
                Ok(Answer::Stored(revision)) => return Ok(revision),
                Ok(Answer::Refused { current }) => current,
                Err(error) => {
                    self.pause(deadline, &error).await?;
                    continue;
                }
            };
            if at_least == Some(0) && write.expected != 0 {
                return Err(self.refused(StoreError::Gone));
            }
            match self.attempt(deadline, self.cells.read(&write.key)).await? {
                Ok(found) => match judge(found.as_ref(), &write, at_least, own) {
                    Verdict::Stored(revision) => {
                        self.counters.session_writes_found.increment();
                        return Ok(revision);
                    }
                    Verdict::Over(revision) => write.expected = revision,
                    Verdict::Unclear => self.pause(deadline, &cells::Error::Lag).await?,
                    Verdict::Refused(reason) => match found {
                        Some(found) if is_swept(&found, takeovers) => {
                            write.expected = found.revision;
                        }
                        _ => return Err(self.refused(reason)),
                    },
                },
                Err(error) => self.pause(deadline, &error).await?,
            }
        }
    }

    /// One try, if there is time for one.
    async fn attempt<T>(
        &self,
        deadline: Instant,
        act: impl Future<Output = Result<T, cells::Error>>,
    ) -> Result<Result<T, cells::Error>, StoreError> {
        match timeout_at(deadline, timeout(TRY, act)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Ok(Err(cells::Error::NoAnswer)),
            Err(_) => Err(self.unreachable(&cells::Error::NoAnswer)),
        }
    }

    /// Waits before the next try, if there is time for one.
    async fn pause(&self, deadline: Instant, error: &cells::Error) -> Result<(), StoreError> {
        if Instant::now() + PAUSE >= deadline {
            return Err(self.unreachable(error));
        }
        tracing::debug!(%error, "a session's broker is asked again");
        self.counters.session_retries.increment();
        sleep(PAUSE).await;
        Ok(())
    }

    fn unreachable(&self, error: &cells::Error) -> StoreError {
        self.counters.session_timeouts.increment();
        tracing::debug!(%error, "a session's broker is given up");
        StoreError::Unreachable
    }

    fn refused(&self, reason: StoreError) -> StoreError {
        self.counters.session_conflicts.increment();
        reason
    }

    fn unreadable(&self, error: &codec::Error) {
        self.counters.records_unreadable.increment();
        tracing::warn!(%error, "a session's record cannot be read");
    }
}

/// What is there after a refused write, and what follows from it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// An earlier try was stored.
    Stored(Revision),
    /// It may be written over this one.
    Over(Revision),
    /// What was read is older than what refused the write, or just about to change.
    Unclear,
    Refused(StoreError),
}

fn judge(
    found: Option<&Found>,
    write: &Write,
    at_least: Option<Revision>,
    own: &[WriteId],
) -> Verdict {
    let Some(found) = found else {
        return Verdict::Unclear;
    };
    let is_past = at_least.is_some_and(|revision| found.revision < revision);
    if is_past || found.revision == write.expected {
        return Verdict::Unclear;
    }
    if found.id == Some(write.id) {
        return Verdict::Stored(found.revision);
    }
    if found.is_mark {
        return match write.expected {
            0 => Verdict::Over(found.revision),
            _ => Verdict::Refused(StoreError::Gone),
        };
    }
    if found.id.is_some_and(|id| own.contains(&id)) {
        return Verdict::Over(found.revision);
    }
    Verdict::Refused(StoreError::Fenced)
}

/// Whether somebody who took the owner of this takeover for gone has ended its connection, and nobody has it since.
fn is_swept(found: &Found, takeovers: Option<u32>) -> bool {
    if found.is_mark {
        return false;
    }
    let record: Option<Record> = codec::decode(&found.value).ok();
    record.is_some_and(|record| !record.is_connected && takeovers == Some(record.takeovers))
}

/// The change that stores a record.
fn put(record: &Record, ttl: Option<Duration>) -> Result<Change, StoreError> {
    match codec::encode(record) {
        Ok(value) => Ok(Change::Put { value, ttl }),
        Err(error) => {
            tracing::error!(%error, "a session's record cannot be written");
            Err(StoreError::Unreachable)
        }
    }
}

impl Sessions for KvSessions {
    fn create(
        &self,
        key: SessionKey,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let write = Write::new(session_key(key), 0, put(&record, None)?);
            self.write(write, None, &[]).await
        })
    }

    fn get(&self, key: SessionKey) -> BoxFuture<'_, Result<(Record, Revision), StoreError>> {
        Box::pin(async move {
            let read = self.read(&session_key(key)).await;
            // Whoever reads it is about to take it over with what it has read: it must not write over what it has not.
            self.unsettled.forget(key);
            read
        })
    }

    fn take(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let write = Write::new(session_key(key), expected, put(&record, None)?);
            self.write(write, None, &[]).await
        })
    }

    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let write = Write::new(session_key(key), expected, put(&record, None)?);
            let begun = self.unsettled.begin(key, expected, write.id);
            let takeovers = Some(record.takeovers);
            let outcome = self.write(write, takeovers, begun.own()).await;
            if outcome != Err(StoreError::Unreachable) {
                begun.settle();
            }
            outcome
        })
    }

    fn expire(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        window: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let change = put(&record, Some(window))?;
            let own = self.unsettled.take(key, expected);
            let write = Write::new(session_key(key), expected, change);
            let takeovers = Some(record.takeovers);
            self.write(write, takeovers, &own).await.map(drop)
        })
    }

    fn remove(
        &self,
        key: SessionKey,
        expected: Revision,
        takeovers: u32,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let own = self.unsettled.take(key, expected);
            let write = Write::new(session_key(key), expected, Change::Remove { mark: MARK });
            self.write(write, Some(takeovers), &own).await.map(drop)
        })
    }
}
