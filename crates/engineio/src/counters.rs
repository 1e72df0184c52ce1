//! What the engine counts. Upper layers turn these into metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::close_reason::CloseReason;

/// A number that only the engine changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the engine counts. All but the `open_` numbers only rise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions opened.
    pub handshakes: Counter,
    /// Handshakes refused by [`crate::Accept::admit`] or [`crate::Engine::refuse_handshakes`].
    pub refused: Counter,
    /// Open sessions on long-polling.
    pub open_polling: Counter,
    /// Open sessions on WebSocket.
    pub open_websocket: Counter,
    /// Sessions that changed to WebSocket.
    pub upgrades: Counter,
    /// Upgrades that were begun and not completed.
    pub failed_upgrades: Counter,
    /// Sessions closed, by [`CloseReason::index`].
    pub closed: [Counter; CloseReason::ALL.len()],
    /// Bytes read: WebSocket frames and POST bodies.
    pub bytes_in: Counter,
    /// Bytes written: WebSocket frames and polling responses.
    pub bytes_out: Counter,
    /// Packets read.
    pub packets_in: Counter,
    /// Packets written.
    pub packets_out: Counter,
    /// How often reading was paused.
    pub pauses: Counter,
    /// Sends refused because a queue was full.
    pub queue_full: Counter,
    /// Requests refused, by the code in the answer (0 to 5).
    pub errors: [Counter; 6],
}

impl Counters {
    /// Sessions closed for this reason.
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()].get()
    }
}
