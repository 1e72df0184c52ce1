//! The long-polling side of a session: the one GET that waits and the one POST that is read.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use super::upgrade::Upgrade;
use super::{Ending, Session, State, TransportKind, flow};
use crate::close_reason::CloseReason;
use crate::payload::Payload;

/// How long a GET waits for the upgrade to be completed. A client that has sent the upgrade packet must not see its next
/// GET answered as if it had not; one that has not is held up by this much. (The reference looks every 100 ms.)
const PROBE_GRACE: Duration = Duration::from_millis(30);

/// Why a request of a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollError {
    /// The session has ended.
    Unknown,
    /// Another transport carries the session, or another such request is under way, which has ended the session.
    Bad,
}

/// The GET that waits. Dropped before it is answered, its client has gone, and the session ends.
pub(crate) struct GetGuard {
    session: Arc<Session>,
    /// It came while the session was being upgraded.
    is_in_probe: bool,
    is_answered: bool,
}

/// The POST that is read; it holds the reader token. Dropped before it is done, the session ends.
pub(crate) struct PostGuard {
    session: Arc<Session>,
    is_done: bool,
}

impl Session {
    /// Begins a GET.
    pub(crate) fn begin_get(self: &Arc<Self>) -> Result<GetGuard, PollError> {
        let mut state = self.state.lock();
        state.check_polling()?;
        if state.has_get {
            drop(state);
            self.end(Ending::of(CloseReason::TransportError));
            return Err(PollError::Bad);
        }
        state.has_get = true;
        let is_in_probe = state.upgrade == Upgrade::Probing;
        // A close packet may be waiting for this GET.
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        super::wake_all(waiters);
        Ok(GetGuard {
            session: Arc::clone(self),
            is_in_probe,
            is_answered: false,
        })
    }

    /// Begins a POST.
    pub(crate) fn begin_post(self: &Arc<Self>) -> Result<PostGuard, PollError> {
        let mut state = self.state.lock();
        state.check_polling()?;
        if state.has_reader {
            drop(state);
            self.end(Ending::of(CloseReason::TransportError));
            return Err(PollError::Bad);
        }
        state.has_reader = true;
        drop(state);
        Ok(PostGuard {
            session: Arc::clone(self),
            is_done: false,
        })
    }

    /// What to answer to the GET; none if the session has been upgraded meanwhile.
    fn poll_payload(&self, cx: &Context<'_>, is_held: bool) -> Poll<Option<Payload>> {
        let limit = self.shared.config.max_payload;
        let mut state = self.state.lock();
        let payload = if state.transport == TransportKind::WebSocket {
            None
        } else if state.closed.is_some() {
            Some(state.last_payload())
        } else if !state.queue.is_empty() {
            Some(Payload::take(&mut state.queue, limit))
        } else if state.upgrade == Upgrade::Probing && !is_held {
            Some(Payload::of("6"))
        } else {
            state.set_writer(cx.waker());
            return Poll::Pending;
        };
        state.has_get = false;
        let waiters = state.take_waiters_if_drained();
        drop(state);
        super::wake_all(waiters);
        Poll::Ready(payload)
    }
}

impl State {
    fn check_polling(&self) -> Result<(), PollError> {
        if self.closed.is_some() {
            Err(PollError::Unknown)
        } else if self.transport == TransportKind::WebSocket {
            Err(PollError::Bad)
        } else {
            Ok(())
        }
    }

    /// The answer to the GET that waited when the session ended.
    fn last_payload(&self) -> Payload {
        Payload::of(if self.ends_with_noop { "6" } else { "1" })
    }
}

impl GetGuard {
    /// Waits for something to send. The heartbeat's ping, or its end, comes in time; only a GET that came while the
    /// session was being upgraded has a timer.
    pub(crate) async fn payload(mut self) -> Result<Payload, PollError> {
        let payload = if self.is_in_probe {
            self.payload_in_probe().await
        } else {
            poll_fn(|cx| self.session.poll_payload(cx, false)).await
        };
        self.is_answered = true;
        match payload {
            Some(payload) => Ok(payload),
            None if self.is_in_probe => Err(PollError::Bad),
            None => Ok(Payload::of("6")),
        }
    }

    /// Gives the upgrade packet, which comes on another connection, time to come first.
    async fn payload_in_probe(&self) -> Option<Payload> {
        let held = poll_fn(|cx| self.session.poll_payload(cx, true));
        match timeout(PROBE_GRACE, held).await {
            Ok(payload) => payload,
            Err(_) => poll_fn(|cx| self.session.poll_payload(cx, false)).await,
        }
    }
}

impl Drop for GetGuard {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        // `has_get` stays until the session has ended, so that no other GET slips in between.
        if self.session.transport() == TransportKind::Polling {
            self.session.end(Ending::of(CloseReason::TransportError));
        }
        self.session.state.lock().has_get = false;
    }
}

impl PostGuard {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Waits until reading goes on, or the session has ended.
    pub(crate) async fn resumed(&self) {
        let flow = &self.session.flow;
        self.session
            .wait(|_| flow.load(std::sync::atomic::Ordering::Acquire) != flow::PAUSED)
            .await;
    }

    /// Waits until a GET is there, or the session has ended.
    pub(crate) async fn accompanied(&self) {
        self.session
            .wait(|state| state.has_get || state.closed.is_some())
            .await;
    }

    /// Waits until the session has ended.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.session.poll_wait(cx, |state| state.closed.is_some())
    }

    /// The POST is read; the session goes on.
    pub(crate) fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for PostGuard {
    fn drop(&mut self) {
        if !self.is_done {
            self.session.end(Ending::of(CloseReason::TransportError));
        }
        self.session.release_reader();
    }
}
