//! How a session ends: once, for one reason, and told to the layer above by the holder of the reader token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{SendQueue, Session, State, TransportKind, flow, upgrade::Upgrade, wake_all};
use crate::accept::Connection;
use crate::clock::Micros;
use crate::close_reason::CloseReason;
use crate::wheel::Task;

/// How long a long-polling client that the server closed may fetch the close packet.
const FAREWELL: Duration = Duration::from_secs(5);
/// What an immediate close leaves to the next GET; more is dropped.
const FAREWELL_BYTES: usize = 64 << 10;

/// A reason and its circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    is_by_packet: bool,
    flush_for: Option<Duration>,
}

impl Ending {
    pub(crate) fn of(reason: CloseReason) -> Self {
        Self {
            reason,
            is_by_packet: false,
            flush_for: None,
        }
    }

    pub(crate) fn is_by_packet(&self) -> bool {
        self.is_by_packet
    }

    /// The client sent a close packet.
    pub(crate) fn by_packet() -> Self {
        Self {
            is_by_packet: true,
            ..Self::of(CloseReason::TransportClose)
        }
    }
}

impl Session {
    /// Closes the session at once. What is queued is sent as far as one write goes, then the transport is closed; a
    /// long-polling client finds it in its waiting or next GET. Does nothing if the session is closed already.
    pub fn close(&self, reason: CloseReason) {
        self.end(Ending::of(reason));
    }

    /// Closes the session for new frames at once, and the transport as soon as what is queued is sent, or the deadline
    /// has passed.
    pub fn close_after_flush(&self, reason: CloseReason, deadline: Duration) {
        self.end(Ending {
            flush_for: Some(deadline),
            ..Ending::of(reason)
        });
    }

    /// Ends the session unless it has ended.
    pub(crate) fn end(&self, ending: Ending) {
        let now = self.shared.clock.now();
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(ending.reason);
        state.flush_until = ending.flush_for.map(|wait| now + Micros::from(wait));
        self.flow.store(flow::CLOSED, Ordering::Release);
        let farewell = state.take_farewell(ending);
        state.ends_with_noop = ending.is_by_packet || farewell.is_some();
        let is_upgrading = std::mem::replace(&mut state.upgrade, Upgrade::None) != Upgrade::None;
        let transport = state.transport;
        let wakers = state.take_wakers();
        let is_unread = !state.has_reader;
        drop(state);

        let session = self
            .leave_registry(farewell.map(|queue| (queue, ending.flush_for.unwrap_or(FAREWELL))));
        self.count_end(ending.reason, transport, is_upgrading);
        if is_unread && let Some(session) = session {
            // Never on the caller's stack: it may hold a lock that `Connection::closed` wants.
            self.shared.runtime.spawn(async move { session.tell_end() });
        }
        wake_all(wakers);
    }

    /// The last words are in place before the id becomes unknown.
    fn leave_registry(&self, farewell: Option<(SendQueue, Duration)>) -> Option<Arc<Self>> {
        if let Some((queue, wait)) = farewell {
            self.shared.farewells.insert(self.id, queue);
            self.shared.wheel.add(
                self.id,
                Task::Farewell,
                self.shared.clock.now() + Micros::from(wait),
            );
        }
        self.shared.registry.remove(&self.id)
    }

    fn count_end(&self, reason: CloseReason, transport: TransportKind, is_upgrading: bool) {
        let counters = self.counters();
        counters.closed[reason.index()].increment();
        self.shared.open_counter(transport).decrement();
        if is_upgrading {
            counters.failed_upgrades.increment();
        }
    }

    /// Why the session ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.state.lock().closed
    }

    /// Gives the session its connection.
    pub(crate) fn opened(&self, connection: Arc<dyn Connection>) {
        self.state.lock().connection = Some(connection);
    }

    /// Gives the reader token back, and tells the end if it has come meanwhile.
    pub(crate) fn release_reader(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.has_reader = false;
        let is_closed = state.closed.is_some();
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        wake_all(waiters);
        if !is_closed {
            return;
        }
        if std::thread::panicking() {
            // The layer above has just panicked on this stack; a second panic here would abort the process.
            let session = Arc::clone(self);
            self.shared.runtime.spawn(async move { session.tell_end() });
        } else {
            self.tell_end();
        }
    }

    /// Tells the layer above. Taking the connection away makes it happen once, and breaks the circle of references.
    fn tell_end(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let (Some(connection), Some(reason)) = (state.connection.take(), state.closed) else {
            return;
        };
        drop(state);
        // Counted down even if the layer above panics.
        let _live = LiveSession(self);
        connection.closed(self, reason);
    }
}

struct LiveSession<'a>(&'a Session);

impl Drop for LiveSession<'_> {
    fn drop(&mut self) {
        self.0.shared.live.remove();
    }
}

impl State {
    /// What a long-polling client is still to be told by further GETs: what is queued, then the close packet. The two never
    /// share an answer: the official client reads the close packet first.
    fn take_farewell(&mut self, ending: Ending) -> Option<SendQueue> {
        if self.transport == TransportKind::WebSocket || (self.has_get && self.queue.is_empty()) {
            return None;
        }
        let queue = std::mem::take(&mut self.queue);
        if !ending.reason.is_by_server() {
            return None;
        }
        let is_kept = ending.flush_for.is_some() || queue.bytes() <= FAREWELL_BYTES;
        Some(if is_kept { queue } else { SendQueue::default() })
    }
}
