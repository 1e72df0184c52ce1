//! The chat: what `docs/protocol.md` promises, on top of the Socket.IO layer.
//!
//! One [`Chat`] serves one node; all nodes of a process share the history. Files are named after what a client does:
//! enter, say something, be in rooms, read back, see who is there.

pub(crate) mod backend;
mod backfill;
mod enter;
pub mod events;
mod messages;
mod pages;
mod presence;
pub(crate) mod reply;
mod rooms;
mod visitor;

use std::sync::Arc;

use arc_swap::Guard;
use chatcluster_socketio::SocketIo;
use chatcluster_socketio::log::Store as _;

use crate::codes::Code;
use crate::history::History;
use crate::live::{Live, Settings};
use crate::membership::Membership;
use crate::metrics::Metrics;

/// The chat on one node. Cheap to clone.
#[derive(Clone)]
pub struct Chat(Arc<Inner>);

struct Inner {
    node: String,
    history: Arc<History>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    membership: Option<Arc<Membership>>,
}

/// What the nodes of a process share.
#[derive(Clone)]
pub struct Parts {
    /// The stored messages.
    pub history: Arc<History>,
    /// Who may connect, what clients may take, how much of the history they are sent.
    pub live: Arc<Live>,
    /// Events and refusals are counted here.
    pub metrics: Arc<Metrics>,
    /// The place in a cluster on NATS, if the chat is not alone.
    pub membership: Option<Arc<Membership>>,
}

impl Chat {
    /// The chat of the node with this name.
    #[must_use]
    pub fn new(node: String, parts: Parts) -> Self {
        Self(Arc::new(Inner {
            node,
            history: parts.history,
            live: parts.live,
            metrics: parts.metrics,
            membership: parts.membership,
        }))
    }

    /// Sets the chat up on the namespace `/`. The server must have been given this chat as its state.
    pub fn install(&self, io: &SocketIo) {
        let (door, history) = (self.clone(), self.clone());
        io.ns("/", enter::on_connect)
            .with(move |connecting| {
                let admitted = door.admit(&connecting);
                std::future::ready(admitted)
            })
            .backfill(move |backfill| history.clone().backfill(backfill))
            .on(events::CHAT_MESSAGE, messages::on_chat_message)
            .on(events::ROOM_MESSAGE, messages::on_room_message)
            .on(events::ROOM_JOIN, rooms::on_join)
            .on(events::ROOM_LEAVE, rooms::on_leave)
            .on(events::HISTORY, pages::on_history)
            .on(events::TYPING, presence::on_typing)
            .on(events::WHO, presence::on_who);
    }

    /// The settings that count now. Not to be kept over an await.
    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.0.live.now()
    }

    /// Counts a handshake that is refused.
    pub(crate) fn count_refusal(&self, code: Code) {
        self.0.metrics.count_refusal(code);
    }

    /// Whether this node has read everything that was said: before that, what is old would be delivered as new.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let membership = self.0.membership.as_ref();
        membership.is_none_or(|membership| membership.is_up_to_date())
    }

    /// Whether clients are to go to other servers.
    pub(crate) fn is_handed_over(&self) -> bool {
        let membership = self.0.membership.as_ref();
        membership.is_some_and(|membership| membership.is_handed_over())
    }

    /// A position that clients may be told: no restart gives out one up to it again, even if the clock was set back
    /// meanwhile. No message lies between it and the one given, which this node has reached.
    fn tellable(&self, reached: u64) -> u64 {
        if self.0.membership.is_some() {
            // The log gives positions out, and has this one.
            return reached;
        }
        reached.min(self.0.history.last_position())
    }
}
