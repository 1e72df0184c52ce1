//! What happened, counted: read by whoever exports metrics.

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

/// Why a client that asked for recovery got a new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRecovered {
    /// No such session: expired, ended, or never ours.
    UnknownSession,
    /// The session belongs to another identity.
    OtherIdentity,
    /// The offset is not one of ours.
    ForeignOffset,
    /// The log began a new epoch.
    Epoch,
    /// What was missed is no longer in memory.
    Gap,
    /// More was missed than a replay may carry.
    TooMuch,
    /// Another connection took the session at the same time.
    Fenced,
    /// This node had not read the log as far as the client, or for too long.
    TimedOut,
    /// The session store did not answer as long as the connection waited; the session stays.
    Unreachable,
}

impl NotRecovered {
    /// All reasons, in the order of [`NotRecovered::index`].
    pub const ALL: [Self; 9] = [
        Self::UnknownSession,
        Self::OtherIdentity,
        Self::ForeignOffset,
        Self::Epoch,
        Self::Gap,
        Self::TooMuch,
        Self::Fenced,
        Self::TimedOut,
        Self::Unreachable,
    ];

    /// Its place in [`NotRecovered::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// A label for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSession => "unknown_session",
            Self::OtherIdentity => "other_identity",
            Self::ForeignOffset => "foreign_offset",
            Self::Epoch => "epoch",
            Self::Gap => "gap",
            Self::TooMuch => "too_much",
            Self::Fenced => "fenced",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Counts of one [`crate::SocketIo`].
#[derive(Debug, Default)]
pub struct Counters {
    /// Sockets that joined a namespace, recovered ones included.
    pub connects: Counter,
    /// Connects that a middleware, or an unknown namespace, refused.
    pub connects_refused: Counter,
    /// Sockets that got their session back.
    pub recovered: Counter,
    /// Of those, how many needed more than this node held in memory.
    pub recovered_from_log: Counter,
    /// Sockets that asked for recovery and did not get it, by [`NotRecovered::index`].
    pub not_recovered: [Counter; NotRecovered::ALL.len()],
    /// Events received.
    pub events_in: Counter,
    /// Events that no handler listens to.
    pub events_unhandled: Counter,
    /// Events whose arguments do not fit their handler.
    pub events_misshaped: Counter,
    /// Handlers that panicked.
    pub handler_panics: Counter,
    /// Packets against the protocol; each closed its connection.
    pub violations: Counter,
    /// Entries delivered by the log's pipeline on this node.
    pub entries_delivered: Counter,
    /// Send queues that overflowed; each closed its connection.
    pub overflows: Counter,
    /// Times a full inbox stopped reading a socket.
    pub inbox_pauses: Counter,
    /// Connections closed because their session lives elsewhere.
    pub evictions: Counter,
}
