//! Recoverable sessions: what is kept of a socket while it is connected and, for the recovery window, after.
//!
//! A record is written when it *changes*, not when its connection ends: a killed node cannot write any more (semantics 17).
//! Every write names the revision that it replaces, so that a stale owner can never overwrite the live one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::log::Room;
use crate::sid::{NodeId, SessionKey, Sid};

/// Most rooms that a session has left and still remembers; beyond it the oldest is dropped early (semantics 16).
pub(crate) const MAX_LEFT_INTERVALS: usize = 64;

/// A stay in a room: entitles to the room's entries at positions above `joined` up to and with `left`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The room.
    pub room: Room,
    /// The position processed last when the socket joined.
    pub joined: u64,
    /// The position processed last when it left; `None` while it stays.
    pub left: Option<u64>,
    /// Milliseconds since 1970 when it left: decides when the interval may be forgotten.
    pub left_at: Option<u64>,
}

impl Interval {
    /// True if the session was in the room when the entry at `position` was logged.
    pub(crate) fn covers(&self, position: u64) -> bool {
        position > self.joined && self.left.is_none_or(|left| position <= left)
    }
}

/// Why a session has ended that neither its client nor its server wanted to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// The log has lost something that it may have needed.
    Gap,
    /// The log began a new epoch.
    Epoch,
}

/// A stretch of the log that held nothing for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quiet {
    /// What was for the session last lies here, or further back.
    pub after: u64,
    /// The last position of the stretch.
    pub through: u64,
}

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The socket id that a recovered client gets back.
    pub sid: Sid,
    /// Who opened it: only the same identity may recover it.
    pub identity: Option<Arc<str>>,
    /// The node that holds the live connection, or held it last.
    pub owner: NodeId,
    /// How often it has been taken over: tells its owner's writes from another claim.
    pub takeovers: u32,
    /// The log's epoch in which `start` and the intervals are positions.
    pub epoch: u64,
    /// The position processed last when the session began.
    pub start: u64,
    /// Stays in rooms, the socket's own id excepted.
    pub intervals: Vec<Interval>,
    /// Offsets below this one are a gap: an interval was forgotten early.
    pub gap_below: u64,
    /// False once the connection that had it is known to have ended.
    pub is_connected: bool,
    /// False if its connection was still being sent history or missed events long after it began, as far as is known: what
    /// has aged out of memory since may then be lacking, however old it is.
    pub is_caught_up: bool,
    /// True if its connections are known to have ended without having been sent any event: an offset that the client
    /// has from another session then says nothing about this one (semantics 5).
    pub is_untouched: bool,
    /// The socket's `data`, JSON text; empty if never set.
    pub data: Arc<str>,
    /// Milliseconds since 1970 of the last overflow of the send queue; a second one within 30 s ends the session.
    pub overflowed_at: Option<u64>,
    /// The end of the log when the session was opened or taken over last: a client that has what came before it lacks
    /// nothing of it, and one that has not was cut off in the middle of what it missed.
    #[serde(default)]
    pub quiet: Quiet,
    /// Why nobody gets it back; it is kept for the window only so that its client is told apart from who was away too long.
    #[serde(default)]
    pub ended: Option<Ended>,
}

impl Record {
    /// The last position that a client at `position` has seen the log at, here or elsewhere.
    pub(crate) fn seen(&self, position: u64) -> u64 {
        let joins = self.intervals.iter().map(|i| i.left.unwrap_or(i.joined));
        joins.fold(position, u64::max)
    }

    /// How far a client that has everything up to `position` lacks nothing.
    pub(crate) fn complete_from(&self, position: u64) -> u64 {
        if position < self.quiet.after {
            position
        } else {
            position.max(self.quiet.through)
        }
    }
}

/// Counts the writes of one record; each write names the one before.
pub type Revision = u64;

/// The record is not what the writer thought: someone else has it, or it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another owner has written since.
    #[error("the session has another owner")]
    Fenced,
    /// There is no such session (any more).
    #[error("the session does not exist")]
    Gone,
    /// The store did not answer within its deadline.
    #[error("the session store is not reachable")]
    Unreachable,
}

/// Where sessions are kept. All nodes of a cluster share one.
///
/// Each call has a deadline of the store's own making; [`StoreError::Unreachable`] is the answer when it passes.
pub trait Sessions: Send + Sync + 'static {
    /// Stores a new session.
    fn create(
        &self,
        key: SessionKey,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Reads a session, unless it has expired.
    fn get(&self, key: SessionKey) -> BoxFuture<'_, Result<(Record, Revision), StoreError>>;

    /// Makes the session the writer's, who has read it with this revision: replaces the record if it still has that. A
    /// pending expiry ends.
    fn take(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Its owner replaces the record: if the revision is still the `expected` one, or if somebody who took the owner for gone
    /// has ended the connection since, and nobody has taken the session over. A pending expiry ends.
    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// The connection ended: its owner stores the record a last time, as [`Sessions::update`] does; it expires after `window`
    /// unless somebody takes it over.
    fn expire(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        window: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The session ended for good: its owner, by the takeover of this number, removes it as [`Sessions::update`] replaces it.
    fn remove(
        &self,
        key: SessionKey,
        expected: Revision,
        takeovers: u32,
    ) -> BoxFuture<'_, Result<(), StoreError>>;
}
