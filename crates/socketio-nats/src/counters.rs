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
    /// Connections to NATS that were lost.
    pub connections_lost: Counter,
    /// Times that NATS denied this node a subject.
    pub permissions_violated: Counter,
    /// Times that a subscription of this node was too slow, and something sent at most once was dropped.
    pub slow_consumers: Counter,
    /// Attempts to publish a message to the log that were made again.
    pub publish_retries: Counter,
    /// Events that could not be logged in time.
    pub publish_failures: Counter,
    /// Times that the log was read for sessions that needed more of it than this node held.
    pub log_replays: Counter,
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
    /// Rows of the read model that could not be stored and were tried again.
    pub rows_retried: Counter,
    /// Own casts that were dropped because this node was too slow.
    pub own_casts_dropped: Counter,
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
    /// Sessions asked for.
    pub session_reads: Counter,
    /// Sessions stored, given an expiry or removed; those that a sweep wrote included.
    pub session_writes: Counter,
    /// Writes refused because the session had another revision, or none any more.
    pub session_conflicts: Counter,
    /// Writes that this node had made before without hearing that they were stored.
    pub session_writes_found: Counter,
    /// Tries of such reads and writes after the first one, whatever was wrong with it.
    pub session_retries: Counter,
    /// Reads and writes that had no answer within their deadline.
    pub session_timeouts: Counter,
    /// Records that this release cannot read.
    pub records_unreadable: Counter,
    /// Sweeps of a dead node's sessions.
    pub sweeps: Counter,
    /// Sessions of dead nodes that were given their window.
    pub sessions_swept: Counter,
    /// Sessions of this node that others had given their window, and that were stored as connected again.
    pub sessions_asserted: Counter,
}
