//! What happened between this node and the broker, counted: read by whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of one node.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions asked for.
    pub session_reads: Counter,
    /// Sessions stored, given an expiry or removed; those that a sweep wrote included.
    pub session_writes: Counter,
    /// Writes refused because the session had another revision, or none any more.
    pub session_conflicts: Counter,
    /// Writes that this node had made before without hearing that they were stored.
    pub session_writes_found: Counter,
    /// Reads and writes that had no answer within their deadline.
    pub session_timeouts: Counter,
    /// Records that this release cannot read.
    pub records_unreadable: Counter,
    /// Sweeps of a dead node's sessions.
    pub sweeps: Counter,
    /// Sessions of dead nodes that were given their window.
    pub sessions_swept: Counter,
}
