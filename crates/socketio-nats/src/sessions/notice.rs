//! What tells a node that it was taken for gone: a notice in the bucket, under its name.
//!
//! Whoever sweeps a node's sessions leaves it before the first write and once more after the last one, so that it is there
//! whoever dies meanwhile, and a node that lives finds it when it looks. Between the two lie the revisions of all that the
//! sweep has written: nothing else has to be read.
//!
//! Nobody answers a notice. It expires when the sessions would have.

use std::time::Duration;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::Swept;
use chatcluster_socketio::session::{Record, Revision, StoreError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{DEADLINE, KvSessions};
use crate::cells::{self, Answer, Change, Found, Stored, Write};
use crate::codec;
use crate::names::{is_session_key, notice_key};

/// How much longer than the sessions a notice stays: their last window begins a little later than it.
const STAYS: Duration = Duration::from_secs(10);

/// A node's sessions are being swept, or were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// What was written before this revision the sweep did not write; without one it begins with the notice itself.
    pub(crate) since: Option<Revision>,
    /// Nothing more is written for it.
    pub(crate) is_over: bool,
}

/// A node's notice, and its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) notice: Notice,
    pub(crate) revision: Revision,
}

impl Told {
    /// Where the sweep began.
    pub(crate) fn since(&self) -> Revision {
        self.notice.since.unwrap_or(self.revision)
    }
}

impl KvSessions {
    /// Before the first session of a node is swept.
    pub(super) async fn begin_sweep(
        &self,
        node: &NodeId,
        window: Duration,
    ) -> Result<(), StoreError> {
        if self.sweeping.lock().contains_key(node) {
            return Ok(());
        }
        let begun = self.leave_notice(node, None, window).await?;
        self.sweeping.lock().insert(node.clone(), begun);
        Ok(())
    }

    /// When nothing more is under way: tells the nodes whose sessions were swept, as far as that can be done now.
    ///
    /// What this node has asked of the broker before, and heard no answer to, the broker does before it stores this.
    pub(crate) async fn end_sweeps(&self, window: Duration) -> Result<(), StoreError> {
        let sweeping = self.sweeping.lock().clone();
        for (node, begun) in sweeping {
            self.leave_notice(&node, Some(begun), window).await?;
            self.sweeping.lock().remove(&node);
        }
        Ok(())
    }

    /// What this node was told last.
    pub(crate) async fn notice(&self, node: &NodeId) -> Result<Option<Told>, StoreError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.attempt(deadline, self.read_notice(node)).await? {
                Ok(found) => return Ok(found.and_then(|found| self.told(&found))),
                Err(error) => self.pause(deadline, &error).await?,
            }
        }
    }

    async fn read_notice(&self, node: &NodeId) -> Result<Option<Found>, cells::Error> {
        self.cells.read(&notice_key(node)).await
    }

    fn told(&self, found: &Found) -> Option<Told> {
        if found.is_mark {
            return None;
        }
        let notice = codec::decode(&found.value);
        let notice = notice.inspect_err(|error| self.unreadable(error)).ok()?;
        let revision = found.revision;
        Some(Told { notice, revision })
    }

    /// Leaves a notice over the one that is there, if there is one: of a sweep that begins, or has begun with this revision.
    async fn leave_notice(
        &self,
        node: &NodeId,
        begun: Option<Revision>,
        window: Duration,
    ) -> Result<Revision, StoreError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let before = match self.attempt(deadline, self.read_notice(node)).await? {
                Ok(before) => before,
                Err(error) => {
                    self.pause(deadline, &error).await?;
                    continue;
                }
            };
            let told = before.as_ref().and_then(|before| self.told(before));
            let earlier = told.map(|told| told.since());
            let notice = Notice {
                since: earlier.into_iter().chain(begun).min(),
                is_over: begun.is_some(),
            };
            let value = codec::encode(&notice).map_err(|error| {
                tracing::error!(%error, "a notice cannot be written");
                StoreError::Unreachable
            })?;
            let ttl = Some(window + STAYS);
            let expected = before.map_or(0, |before| before.revision);
            let write = Write::new(notice_key(node), expected, Change::Put { value, ttl });
            match self.attempt(deadline, self.cells.write(&write)).await? {
                Ok(Answer::Stored(revision)) => return Ok(revision),
                // Somebody else's, or the earlier try's: it is read once more.
                Ok(Answer::Refused { .. }) => self.pause(deadline, &cells::Error::Lag).await?,
                Err(error) => self.pause(deadline, &error).await?,
            }
        }
    }

    /// The sessions of a node that were swept, as they lie between these revisions; `act` is given them a page at a time.
    pub(crate) async fn swept<F: Future<Output = Result<(), StoreError>>>(
        &self,
        node: &NodeId,
        (from, through): (Revision, Revision),
        mut act: impl FnMut(Vec<Swept>) -> F,
    ) -> Result<(), StoreError> {
        let mut from = from;
        while from <= through {
            let page = self.page(from).await;
            let page = page.map_err(|error| self.unreachable(&error))?;
            if page.entries.is_empty() {
                // The notice itself is not there yet: a replica that is behind.
                return Err(self.unreachable(&cells::Error::Lag));
            }
            from = page.last + 1;
            let swept = page.entries.iter();
            act(swept.filter_map(|stored| swept_of(node, stored)).collect()).await?;
        }
        Ok(())
    }
}

/// The session, if somebody may have taken this node, its owner, for gone. One whose client has left looks the same.
fn swept_of(node: &NodeId, stored: &Stored) -> Option<Swept> {
    if stored.found.is_mark || !is_session_key(&stored.key) {
        return None;
    }
    let record = codec::decode::<Record>(&stored.found.value).ok()?;
    let is_swept = record.owner == *node && !record.is_connected && record.ended.is_none();
    is_swept.then_some(Swept {
        sid: record.sid,
        takeovers: record.takeovers,
        revision: stored.found.revision,
    })
}
