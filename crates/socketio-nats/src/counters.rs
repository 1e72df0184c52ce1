//! What happened on the broker, counted: read by whoever exports metrics.

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
    /// Messages of a release that this one does not know, or of somebody else: dropped.
    pub messages_unreadable: Counter,
    /// Messages that the broker would not carry because of their size: not published.
    pub messages_too_large: Counter,
    /// Nodes that fell silent.
    pub nodes_dead: Counter,
    /// Heartbeats of another process under this node's own name, or beyond the nodes that can be known.
    pub heartbeats_refused: Counter,
    /// Casts and requests that were not published: the queue was full, or there was no connection.
    pub messages_unsent: Counter,
    /// Casts of other nodes that this node was too slow for.
    pub casts_undelivered: Counter,
    /// Evictions that were lost on this node, sent or received: each may leave a session on two connections for a while.
    pub evictions_lost: Counter,
    /// Requests of other nodes that were refused because too many were being answered.
    pub requests_refused: Counter,
    /// Requests of other nodes that were not answered within their time.
    pub requests_late: Counter,
    /// Nodes that were asked and did not answer.
    pub answers_missing: Counter,
}
