//! From long-polling to WebSocket, without losing or reordering anything.
//!
//! While the WebSocket is probed, long-polling carries the session and no GET waits for long, so that the client can stop
//! polling. The queue stays where it is; completing the upgrade only changes who drains it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Session, TransportKind};

/// How far an upgrade has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    None,
    /// A WebSocket is there.
    Begun,
    /// It was probed; GETs no longer wait.
    Probing,
}

/// The session cannot be upgraded: it has ended, or another WebSocket is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpgradeError;

impl Session {
    /// Begins an upgrade, which must be completed or given up.
    pub(crate) fn begin_upgrade(&self) -> Result<(), UpgradeError> {
        let mut state = self.state.lock();
        let is_free = state.transport == TransportKind::Polling && state.upgrade == Upgrade::None;
        if state.closed.is_some() || !is_free {
            return Err(UpgradeError);
        }
        state.upgrade = Upgrade::Begun;
        Ok(())
    }

    /// The WebSocket was probed: lets the GETs go.
    pub(crate) fn probed(&self) {
        let mut state = self.state.lock();
        if state.upgrade != Upgrade::Begun {
            return;
        }
        state.upgrade = Upgrade::Probing;
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// Long-polling goes on.
    pub(crate) fn give_up_upgrade(&self) {
        let mut state = self.state.lock();
        if state.closed.is_some() || state.upgrade == Upgrade::None {
            return;
        }
        state.upgrade = Upgrade::None;
        drop(state);
        self.counters().failed_upgrades.increment();
    }

    /// Makes the WebSocket the session's transport and takes the reader token, as soon as no POST holds it.
    pub(crate) async fn complete_upgrade(self: &Arc<Self>) -> Result<(), UpgradeError> {
        poll_fn(|cx| self.poll_complete_upgrade(cx)).await
    }

    fn poll_complete_upgrade(&self, cx: &Context<'_>) -> Poll<Result<(), UpgradeError>> {
        let mut state = self.state.lock();
        if state.closed.is_some() || state.upgrade != Upgrade::Probing {
            return Poll::Ready(Err(UpgradeError));
        }
        if state.has_reader {
            state.add_waiter(cx.waker());
            return Poll::Pending;
        }
        state.has_reader = true;
        state.transport = TransportKind::WebSocket;
        state.upgrade = Upgrade::None;
        // A GET that still waits answers itself; its place as writer goes to the WebSocket's task.
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        let counters = self.counters();
        counters.upgrades.increment();
        counters.open_polling.decrement();
        counters.open_websocket.increment();
        Poll::Ready(Ok(()))
    }

    /// Waits until the session has ended.
    pub(crate) async fn ended(&self) {
        self.wait(|state| state.closed.is_some()).await;
    }
}
