//! The WebSocket's side of the send queue: its task takes frames in batches and puts back what did not go through.

use std::task::Waker;

use bytes::Bytes;

use super::{SendQueue, Session, wake_all};
use crate::clock::Micros;
use crate::frame::Frame;

/// What there is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Nothing; the task will be woken.
    Empty,
    /// Frames were handed out. If `is_last`, the task will be woken when there are more.
    Frames { is_last: bool, has_waiters: bool },
    /// Nothing, and there will be no more.
    Closed,
}

impl Session {
    /// Moves up to `most` frames into `batch`. The waker is registered under the same lock, so no send is missed.
    pub(crate) fn take_batch(&self, waker: &Waker, batch: &mut Vec<Frame>, most: usize) -> Batch {
        let mut state = self.state.lock();
        state.is_blocked = false;
        state.set_writer(waker);
        while batch.len() < most
            && let Some(frame) = state.queue.pop()
        {
            batch.push(frame);
        }
        match (batch.is_empty(), state.closed) {
            (false, closed) => {
                let is_last = state.queue.is_empty() && closed.is_none();
                Batch::Frames {
                    is_last,
                    has_waiters: !state.waiters.is_empty(),
                }
            }
            (true, None) => Batch::Empty,
            (true, Some(_)) => Batch::Closed,
        }
    }

    /// Puts back frames that did not go through, in their order, and says whether more may be tried.
    pub(crate) fn put_back(&self, batch: &mut Vec<Frame>) {
        let mut state = self.state.lock();
        while let Some(frame) = batch.pop() {
            state.queue.push_front(frame);
        }
        state.is_blocked = true;
        let waiters = state.take_waiters_if_drained();
        drop(state);
        wake_all(waiters);
    }

    /// Frames went through; whoever waits for that may look.
    pub(crate) fn wake_drained(&self) {
        let waiters = self.state.lock().take_waiters_if_drained();
        wake_all(waiters);
    }

    /// Queues a control frame, unless the queue is full: a peer that does not read needs no pong.
    pub(crate) fn send_control(&self, wire: Bytes) {
        let mut state = self.state.lock();
        if state.closed.is_none() && state.queue.bytes() < self.shared.config.max_send_queue {
            state.queue.push(Frame::control(wire));
        }
    }

    /// What is left to write at the end, and until when it may be tried.
    pub(crate) fn take_rest(&self) -> (SendQueue, Option<Micros>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.queue), state.flush_until)
    }
}
