//! A connection's hold on its session: the revision that it wrote last, and what it has still to write.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::session::{Ended, Record, Revision};
use crate::sid::{Pid, SessionKey};

/// A second overflow within this time ends the session.
const OVERFLOW_MEMORY_MS: u64 = 30_000;

/// A socket's hold on its recoverable session.
pub(crate) struct Claim {
    pub(crate) pid: Pid,
    pub(crate) key: SessionKey,
    /// Held across a write, so that the writes of one session follow each other.
    pub(super) written: tokio::sync::Mutex<Written>,
    /// How often something has changed that is stored.
    pub(super) changes: AtomicU64,
    /// The revision of the last finished write, for those that must not wait.
    pub(super) last_revision: AtomicU64,
    overflowed_at: AtomicU64,
    pub(super) takeovers: u32,
    /// It must not be recovered once this connection ends; with a reason its client is told apart.
    pub(super) given_up: OnceLock<Option<Ended>>,
    /// The stored record says that the client may lack what has aged out of memory, or is about to.
    is_late: AtomicBool,
}

/// The last write of a session.
pub(super) struct Written {
    pub(super) revision: Revision,
    /// How many of its changes it holds.
    pub(super) changes: u64,
}

impl Claim {
    pub(super) fn new(pid: Pid, revision: Revision, record: &Record) -> Box<Self> {
        Box::new(Self {
            pid,
            key: pid.key(),
            written: tokio::sync::Mutex::new(Written {
                revision,
                changes: 0,
            }),
            changes: AtomicU64::new(0),
            last_revision: AtomicU64::new(revision),
            overflowed_at: AtomicU64::new(record.overflowed_at.unwrap_or(0)),
            takeovers: record.takeovers,
            given_up: OnceLock::new(),
            is_late: AtomicBool::new(!record.is_caught_up),
        })
    }

    /// Remembers an overflow; true if the one before was a moment ago.
    pub(crate) fn note_overflow(&self, now_ms: u64) -> bool {
        let before = self.overflowed_at.swap(now_ms, Ordering::Relaxed);
        before != 0 && now_ms.saturating_sub(before) < OVERFLOW_MEMORY_MS
    }

    pub(super) fn overflowed_at(&self) -> Option<u64> {
        Some(self.overflowed_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// The revision of the last write that has finished.
    pub(crate) fn revision(&self) -> Revision {
        self.last_revision.load(Ordering::Acquire)
    }

    pub(crate) fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Whether it is to be stored that the client may lack what has aged out of memory.
    pub(crate) fn set_late(&self, is_late: bool) {
        self.is_late.store(is_late, Ordering::Relaxed);
        self.note_change();
    }

    /// Something is another now than what is stored.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The session must not be recovered once this connection ends.
    pub(crate) fn give_up(&self, why: Option<Ended>) {
        self.given_up.get_or_init(|| why);
    }
}
