//! One client: its send queue, its transport, and how it ends.
//!
//! All changes happen under one short lock that is never held across a call into another layer or a write. Whoever
//! reads the transport (the WebSocket's task, or the POST being served) holds the *reader token*; the token's holder,
//! and nobody else, calls [`Connection`], which is what keeps those calls in order.

mod closing;
pub(crate) mod heartbeat;
mod polling;
mod queue;
mod reading;
mod upgrade;
mod writing;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::accept::Connection;
use crate::clock::Micros;
use crate::close_reason::CloseReason;
use crate::counters::Counters;
use crate::engine::Shared;
use crate::frame::Frame;
use crate::handshake::Handshake;
use crate::sid::Sid;
use crate::wheel::Task;

pub(crate) use closing::Ending;
pub(crate) use heartbeat::Spans;
use heartbeat::{Beat, Heartbeat};
pub(crate) use polling::{PollError, PostGuard};
pub(crate) use queue::SendQueue;
pub(crate) use reading::Received;
pub(crate) use writing::Batch;

/// Below this the queue of a WebSocket counts as writable.
const WRITABLE_BYTES: usize = 64 << 10;
/// Below this the queue counts as drained.
const DRAINED_BYTES: usize = 16 << 10;
/// A longer timeout could not be told from the past by the wheel.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The transport that carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl TransportKind {
    /// The transport's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why frames were not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
    /// The queue is at its bound; nothing was queued, and the session stays open.
    #[error("the send queue is full")]
    Full,
}

/// One client.
pub struct Session {
    id: Sid,
    /// Read before each message, hence outside the lock; changed under it.
    flow: AtomicU8,
    shared: Arc<Shared>,
    handshake: Handshake,
    state: Mutex<State>,
}

/// The values of `Session::flow`.
mod flow {
    pub(super) const READING: u8 = 0;
    pub(super) const PAUSED: u8 = 1;
    /// Resumed before the pause was returned.
    pub(super) const RESUMED: u8 = 2;
    pub(super) const CLOSED: u8 = 3;
}

struct State {
    queue: SendQueue,
    /// Whoever writes next: the WebSocket's task or the waiting GET.
    writer: Option<Waker>,
    /// Whoever waits for the queue to drain, for the reader token, for a resume or for the end. Each looks for itself.
    waiters: Vec<Waker>,
    /// Until the session's end is told.
    connection: Option<Arc<dyn Connection>>,
    heartbeat: Heartbeat,
    /// Until when a WebSocket may write what is queued after the close.
    flush_until: Option<Micros>,
    closed: Option<CloseReason>,
    transport: TransportKind,
    upgrade: upgrade::Upgrade,
    /// A GET waits.
    has_get: bool,
    /// The reader token is taken.
    has_reader: bool,
    /// The last write did not go through.
    is_blocked: bool,
    /// The GET that waits at the end is answered with a noop: the client closed, or there is more to fetch.
    ends_with_noop: bool,
}

impl Session {
    /// A session whose reader token is taken by its opener.
    pub(crate) fn new(
        shared: Arc<Shared>,
        handshake: Handshake,
        transport: TransportKind,
    ) -> Arc<Self> {
        let state = State {
            queue: SendQueue::default(),
            writer: None,
            waiters: Vec::new(),
            connection: None,
            heartbeat: Heartbeat::start(shared.clock.now()),
            flush_until: None,
            closed: None,
            transport,
            upgrade: upgrade::Upgrade::None,
            has_get: false,
            has_reader: true,
            is_blocked: false,
            ends_with_noop: false,
        };
        let flow = AtomicU8::new(flow::READING);
        Arc::new(Self {
            id: Sid::random(),
            flow,
            shared,
            handshake,
            state: Mutex::new(state),
        })
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &Sid {
        &self.id
    }

    /// The request that opened the session.
    #[must_use]
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The transport that carries the session now.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.state.lock().transport
    }

    /// Queues frames: all of them, next to each other, or none. They leave with the next write of the session's task.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::Full`] if the queue is not empty and would exceed its bound.
    pub fn send(&self, frames: &[Frame]) -> Result<(), SendError> {
        self.enqueue(frames, self.shared.config.max_send_queue)
    }

    /// Queues frames without regard to the bound, for a replay that is paced by [`Session::drained`].
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn send_beyond_bound(&self, frames: &[Frame]) -> Result<(), SendError> {
        self.enqueue(frames, usize::MAX)
    }

    fn enqueue(&self, frames: &[Frame], bound: usize) -> Result<(), SendError> {
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return Err(SendError::Closed);
        }
        let bytes: usize = frames.iter().map(Frame::len_bytes).sum();
        if !state.queue.is_empty() && state.queue.bytes().saturating_add(bytes) > bound {
            drop(state);
            self.counters().queue_full.increment();
            return Err(SendError::Full);
        }
        for frame in frames {
            state.queue.push(frame.clone());
        }
        // A blocked writer is woken by its socket; waking it here would only cost.
        let writer = if state.is_blocked {
            None
        } else {
            state.writer.take()
        };
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Whether a frame sent now would leave at once: a WebSocket whose last write went through and whose queue is
    /// short, or a long-polling GET that waits.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let state = self.state.lock();
        state.closed.is_none()
            && match state.transport {
                TransportKind::Polling => state.has_get,
                TransportKind::WebSocket => {
                    !state.is_blocked && state.queue.bytes() < WRITABLE_BYTES
                }
            }
    }

    /// How many bytes wait to be sent.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.state.lock().queue.bytes()
    }

    /// Waits until little is queued any more, or the session is closed.
    pub async fn drained(&self) {
        self.wait(|state| state.closed.is_some() || state.queue.bytes() < DRAINED_BYTES)
            .await;
    }

    /// Whether the session is closed; [`Connection::closed`] may still be about to be called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.flow.load(Ordering::Acquire) == flow::CLOSED
    }

    /// Asks for a call of [`Connection::timeout`] with this token, after this time or a little later. It cannot be
    /// taken back: the receiver must look whether it still matters.
    pub fn set_timeout(&self, after: Duration, token: u32) {
        let due = self.shared.clock.now() + Micros::from(after.min(LONGEST_TIMEOUT));
        self.shared.wheel.add(self.id, Task::Timeout(token), due);
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn connection(&self) -> Option<Arc<dyn Connection>> {
        self.state.lock().connection.clone()
    }

    /// Looks after the heartbeat; says when to look again.
    pub(crate) fn beat(&self, now: Micros, is_late: bool) -> Option<Micros> {
        let spans = self.shared.spans;
        let mut state = self.state.lock();
        if state.closed.is_some() {
            return None;
        }
        match state.heartbeat.beat(now, spans, self.is_paused(), is_late) {
            Beat::Wait(due) => Some(due),
            Beat::Ping(due) => {
                state.queue.push(Frame::ping());
                let writer = state.writer.take();
                drop(state);
                if let Some(writer) = writer {
                    writer.wake();
                }
                Some(due)
            }
            Beat::GiveUp => {
                drop(state);
                self.end(Ending::of(CloseReason::PingTimeout));
                None
            }
        }
    }

    /// Waits until the state is as wanted.
    async fn wait(&self, is_so: impl Fn(&State) -> bool) {
        poll_fn(|cx| self.poll_wait(cx, &is_so)).await;
    }

    fn poll_wait(&self, cx: &Context<'_>, is_so: impl Fn(&State) -> bool) -> Poll<()> {
        let mut state = self.state.lock();
        if is_so(&state) {
            return Poll::Ready(());
        }
        state.add_waiter(cx.waker());
        Poll::Pending
    }
}

impl State {
    fn add_waiter(&mut self, waker: &Waker) {
        if !self.waiters.iter().any(|waiter| waiter.will_wake(waker)) {
            self.waiters.push(waker.clone());
        }
    }

    fn set_writer(&mut self, waker: &Waker) {
        if !self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.will_wake(waker))
        {
            self.writer = Some(waker.clone());
        }
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = std::mem::take(&mut self.waiters);
        wakers.extend(self.writer.take());
        wakers
    }

    fn take_waiters_if_drained(&mut self) -> Vec<Waker> {
        if self.queue.bytes() < DRAINED_BYTES {
            std::mem::take(&mut self.waiters)
        } else {
            Vec::new()
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_small() {
        let (session, state) = (size_of::<Session>(), size_of::<State>());
        println!(
            "Session {session} bytes, of which State {state}, Handshake {}",
            size_of::<Handshake>()
        );
        assert!(session <= 320, "{session}");
    }
}
