//! The sessions of nodes that are gone: nobody is left to say when they end.

use std::time::Duration;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::session::{Record, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use super::{KvSessions, codec, put};
use crate::cells::{self, Page, Stored, Write};

/// Writes in flight: the living sessions share the broker.
const WRITES: usize = 32;
/// How long one page may take: many records, where a call is about one.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Sessions read between two reports.
const REPORT: usize = 10_000;

/// A sweep ended early; what it has done stays, and another one does the rest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    /// The sessions could not be listed.
    #[error("list the sessions, {swept} of which were given their window")]
    List {
        /// Sessions given their window so far.
        swept: usize,
        /// What went wrong.
        #[source]
        source: cells::Error,
    },
    /// A session could not be written.
    #[error("give a session its window, as {swept} before it were")]
    Write {
        /// Sessions given their window so far.
        swept: usize,
        /// What went wrong.
        #[source]
        source: StoreError,
    },
}

/// How far a sweep has come.
#[derive(Default)]
struct Progress {
    read: usize,
    swept: usize,
    reported: usize,
}

impl KvSessions {
    /// Gives the sessions that nodes which are gone left connected the recovery window from now on; says how many.
    ///
    /// Each is written over what was read: one that a client has taken back meanwhile is left alone. Several nodes may
    /// sweep after the same one.
    pub(crate) async fn sweep(
        &self,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
        window: Duration,
    ) -> Result<usize, SweepError> {
        self.counters.sweeps.increment();
        let mut progress = Progress::default();
        let mut from = 1;
        // What the bucket held when the sweep began; entries that came later are of nodes that live.
        let mut held = None;
        loop {
            let page = self.page(from).await;
            let page = page.map_err(|source| SweepError::List {
                swept: progress.swept,
                source,
            })?;
            let held = *held.get_or_insert(page.entries.len() + page.pending);
            progress.read += page.entries.len();
            let is_last = page.pending == 0 || progress.read >= held;
            from = page.last + 1;
            self.sweep_page(page, is_gone, window, &mut progress)
                .await?;
            progress.report(is_last);
            if is_last {
                return Ok(progress.swept);
            }
        }
    }

    async fn page(&self, from: u64) -> Result<Page, cells::Error> {
        let page = timeout(PAGE_DEADLINE, self.cells.page(from)).await;
        page.unwrap_or(Err(cells::Error::NoAnswer))
    }

    async fn sweep_page(
        &self,
        page: Page,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
        window: Duration,
        progress: &mut Progress,
    ) -> Result<(), SweepError> {
        let left = page.entries.into_iter();
        let writes = left.filter_map(|stored| self.farewell(stored, is_gone, window));
        let mut outcomes = stream::iter(writes.map(|write| self.write(write, &[])))
            .buffer_unordered(WRITES)
            .map(|outcome| match outcome {
                Ok(_) => Ok(1),
                // Its client is back, or another node was faster.
                Err(StoreError::Fenced | StoreError::Gone) => Ok(0),
                Err(error @ StoreError::Unreachable) => Err(error),
            });
        loop {
            match outcomes.try_next().await {
                Ok(None) => return Ok(()),
                Ok(Some(count)) => {
                    progress.swept += count;
                    self.counters.sessions_swept.add(count as u64);
                }
                Err(source) => {
                    let swept = progress.swept;
                    return Err(SweepError::Write { swept, source });
                }
            }
        }
    }

    /// The write that ends a connection to a node that is gone; none if the session has no such one.
    fn farewell(
        &self,
        stored: Stored,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
        window: Duration,
    ) -> Option<Write> {
        let found = stored.found;
        if found.is_mark {
            return None;
        }
        let record = codec::decode::<Record>(&found.value)
            .inspect_err(|error| self.unreadable(error))
            .ok()?;
        if !record.is_connected || !is_gone(&record.owner) {
            return None;
        }
        let ended = Record {
            is_connected: false,
            ..record
        };
        let change = put(&ended, Some(window)).ok()?;
        Some(Write::new(stored.key, found.revision, change))
    }
}

impl Progress {
    fn report(&mut self, is_last: bool) {
        if is_last || self.read - self.reported >= REPORT {
            self.reported = self.read;
            let (read, swept) = (self.read, self.swept);
            tracing::info!(
                read,
                swept,
                is_last,
                "sessions of nodes that are gone are given their window"
            );
        }
    }
}
