//! The sessions of nodes that are gone: nobody is left to say when they end. A node that was only taken for gone is told
//! ([`super::notice`]).

use std::time::Duration;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::session::{Record, StoreError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use super::{KvSessions, codec, put};
use crate::cells::{self, Page, Stored, Write};
use crate::names::is_session_key;

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
    /// A node could not be told that its sessions are swept, or were.
    #[error("tell a node, as {swept} sessions were given their window")]
    Tell {
        /// Sessions given their window so far.
        swept: usize,
        /// What went wrong.
        #[source]
        source: StoreError,
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
    /// sweep after the same one. It stops for a node that is there again.
    pub(crate) async fn sweep(
        &self,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
        window: Duration,
    ) -> Result<usize, SweepError> {
        self.counters.sweeps.increment();
        let mut progress = Progress::default();
        let swept = self.sweep_all(is_gone, window, &mut progress).await;
        // Those of a sweep that has failed are told as well: they may be back before it is tried again.
        let told = self.end_sweeps(window).await;
        swept?;
        let swept = progress.swept;
        told.map_err(|source| SweepError::Tell { swept, source })?;
        Ok(swept)
    }

    async fn sweep_all(
        &self,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
        window: Duration,
        progress: &mut Progress,
    ) -> Result<(), SweepError> {
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
            self.sweep_page(page, is_gone, window, progress).await?;
            progress.report(is_last);
            if is_last {
                return Ok(());
            }
        }
    }

    pub(super) async fn page(&self, from: u64) -> Result<Page, cells::Error> {
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
        let entries = page.entries.into_iter();
        let left: Vec<_> = entries
            .filter_map(|stored| self.left(stored, is_gone))
            .collect();
        for (_, record) in &left {
            let told = self.begin_sweep(&record.owner, window).await;
            let swept = progress.swept;
            told.map_err(|source| SweepError::Tell { swept, source })?;
        }
        // Looked at anew before each write: its owner may be there again.
        let left = left.into_iter().filter(|(_, left)| is_gone(&left.owner));
        let writes = left.filter_map(|(stored, record)| farewell(stored, record, window));
        let mut outcomes = stream::iter(writes.map(|write| self.write(write, None, &[])))
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

    /// The session, if it was left connected to a node that is gone.
    fn left(
        &self,
        stored: Stored,
        is_gone: &(dyn Fn(&NodeId) -> bool + Sync),
    ) -> Option<(Stored, Record)> {
        if stored.found.is_mark || !is_session_key(&stored.key) {
            return None;
        }
        let record = codec::decode::<Record>(&stored.found.value)
            .inspect_err(|error| self.unreadable(error))
            .ok()?;
        let is_left = record.is_connected && is_gone(&record.owner);
        is_left.then_some((stored, record))
    }
}

/// The write that ends its connection. What it keeps tells its owner that nobody has taken it.
fn farewell(stored: Stored, record: Record, window: Duration) -> Option<Write> {
    let ended = Record {
        is_connected: false,
        ..record
    };
    let change = put(&ended, Some(window)).ok()?;
    Some(Write::new(stored.key, stored.found.revision, change))
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
