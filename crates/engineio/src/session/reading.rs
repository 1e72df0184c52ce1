//! The reader's side of a session: what a packet leads to, and when reading pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ending, Session, flow, wake_all};
use crate::accept::{Connection, Flow};
use crate::close_reason::CloseReason;
use crate::packet::Packet;

/// What follows from a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Continue,
    Paused,
    Close(Ending),
}

impl Session {
    /// Goes on reading after [`Flow::Pause`].
    pub fn resume(&self) {
        let mut state = self.state.lock();
        match self.flow.load(Ordering::Acquire) {
            flow::READING => self.flow.store(flow::RESUMED, Ordering::Release),
            flow::PAUSED => {
                self.flow.store(flow::READING, Ordering::Release);
                let wakers = state.take_wakers();
                drop(state);
                wake_all(wakers);
            }
            _ => {}
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.flow.load(Ordering::Acquire) == flow::PAUSED
    }

    /// Acts on one packet. Only for the holder of the reader token.
    pub(crate) fn receive(
        self: &Arc<Self>,
        packet: Packet,
        connection: &Arc<dyn Connection>,
    ) -> Received {
        match packet {
            Packet::Message(message) => {
                self.forget_resume();
                match connection.message(self, message) {
                    Flow::Continue => Received::Continue,
                    Flow::Pause => self.pause(),
                }
            }
            Packet::Pong => {
                self.state.lock().heartbeat.pong(self.shared.clock.now());
                Received::Continue
            }
            Packet::Ping => Received::Close(Ending::of(CloseReason::TransportError)),
            Packet::Close => Received::Close(Ending::by_packet()),
            Packet::Ignored => Received::Continue,
        }
    }

    /// A resume from before a message must not undo the pause that this message may ask for.
    fn forget_resume(&self) {
        if self.flow.load(Ordering::Acquire) == flow::RESUMED {
            let _state = self.state.lock();
            if self.flow.load(Ordering::Acquire) == flow::RESUMED {
                self.flow.store(flow::READING, Ordering::Release);
            }
        }
    }

    fn pause(&self) -> Received {
        let mut state = self.state.lock();
        match self.flow.load(Ordering::Acquire) {
            flow::READING => {
                self.flow.store(flow::PAUSED, Ordering::Release);
                state.heartbeat.paused();
                drop(state);
                self.counters().pauses.increment();
                Received::Paused
            }
            flow::RESUMED => {
                self.flow.store(flow::READING, Ordering::Release);
                Received::Continue
            }
            _ => Received::Continue,
        }
    }
}
