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
    /// Attempts to publish to the log that were made again.
    pub publish_retries: Counter,
    /// Events that could not be logged in time.
    pub publish_failures: Counter,
    /// Log entries delivered to a namespace of this node.
    pub entries_delivered: Counter,
    /// Log entries of namespaces that this node does not serve.
    pub entries_foreign: Counter,
    /// Messages of the log that this release cannot read.
    pub unreadable_messages: Counter,
    /// Times that the consumer of the log was made anew.
    pub follower_restarts: Counter,
    /// Times that the log could not be followed from where it was: a gap, or a new epoch.
    pub restarts: Counter,
    /// Own casts that were dropped because this node was too slow.
    pub own_casts_dropped: Counter,
}
