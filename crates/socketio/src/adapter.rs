//! The contract between a namespace and what joins it to the other nodes: a log, casts, requests, sessions.
//!
//! A namespace implements every behaviour (broadcast, fetch, join, disconnect, server-side emit …) once, on top of these
//! four primitives; an adapter knows nothing of sockets and rooms. [`memory`] is the in-process form; NATS is another.

pub mod memory;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::arguments::Arguments;
use crate::config::Delivery;
use crate::counters::NotRecovered;
use crate::event::Event;
use crate::log::{AppendDone, Entry, Envelope, Record, Room, Target};
use crate::session::{Revision, Sessions, StoreError};
use crate::sid::{NodeId, Sid};

/// A choice of sockets: those of the target, without those in one of the `except` rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Who is chosen.
    pub target: Target,
    /// Who is left out.
    pub except: SmallVec<[Room; 1]>,
}

/// Sent to all other nodes, at most once, in order with the log where the adapter can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cast {
    /// An event that is not logged (volatile): who cannot be written to at once does not get it.
    Volatile {
        /// Who gets it.
        to: Selection,
        /// What they get.
        event: Event,
    },
    /// A server-side event for the listeners of the other nodes.
    ServerSide {
        /// The event.
        event: Event,
    },
    /// An event of a namespace without a log ([`Delivery::Ephemeral`]); the sender's own clients have it.
    Ephemeral {
        /// Who gets it.
        to: Selection,
        /// What they get.
        event: Event,
        /// Who cannot be written to at once does not get it.
        is_volatile: bool,
    },
    /// A session was taken over: whoever still has it with a lower revision closes that connection.
    Evict {
        /// The session's socket id.
        sid: Sid,
        /// The new owner's revision.
        revision: u64,
    },
}

impl Cast {
    /// True for what the node that casts it does not get itself.
    #[must_use]
    pub fn is_for_others_only(&self) -> bool {
        matches!(self, Self::ServerSide { .. } | Self::Ephemeral { .. })
    }
}

/// Asked of all other nodes; each answers once or is named as missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Which sockets are there?
    Fetch(Selection),
    /// Let them join rooms.
    Join(Selection, SmallVec<[Room; 1]>),
    /// Let them leave rooms.
    Leave(Selection, SmallVec<[Room; 1]>),
    /// Disconnect them; with `close` their whole connection.
    Disconnect(Selection, bool),
    /// Emit to them and collect their acknowledgements until the deadline.
    BroadcastAck {
        /// Who gets it.
        to: Selection,
        /// What they get.
        event: Event,
        /// How long a node waits for its sockets.
        timeout: Duration,
    },
    /// A server-side event that the listeners of the other nodes answer.
    ServerSide {
        /// The event.
        event: Event,
    },
}

/// What one node answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::Fetch`].
    Sockets(Vec<RemoteSocket>),
    /// To [`Request::Join`], [`Request::Leave`], [`Request::Disconnect`]: how many sockets it concerned.
    Done(usize),
    /// To [`Request::BroadcastAck`]: what each socket answered; `None` if it did not in time.
    Acks(Vec<(Sid, Option<Arguments>)>),
    /// To [`Request::ServerSide`]; `None` if no listener answers there.
    ServerSide(Option<Arguments>),
}

/// The answers of the other nodes, and who did not give one in time.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// By node.
    pub answers: BTreeMap<NodeId, Answer>,
    /// Nodes that were asked and did not answer within the time.
    pub missing: Vec<NodeId>,
}

/// A socket of any node, as [`Request::Fetch`] finds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoteSocket {
    /// Its id.
    pub id: String,
    /// The node that it is connected to.
    pub node: String,
    /// Its rooms, its own id included.
    pub rooms: Vec<String>,
    /// Its `data`.
    pub data: serde_json::Value,
}

/// A session of this node that is stored as if its connection had ended: somebody has taken the node for gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// The session's socket id.
    pub sid: Sid,
    /// The takeover by which its owner has it.
    pub takeovers: u32,
    /// With which it is stored so.
    pub revision: Revision,
}

/// One namespace on one node, as its adapter sees it.
pub trait Local: Send + Sync + 'static {
    /// The next log entry. Called in order of position, from one place at a time.
    fn deliver(&self, entry: &Arc<Entry>);
    /// The log has been followed up to `position`, and what is not delivered by now is not for this namespace. Called from
    /// the place that delivers.
    fn advance(&self, position: u64);
    /// Whether somebody is connected here, or is about to be: while nobody is, the log may be followed at leisure.
    fn has_members(&self) -> bool;
    /// How many sockets are connected here.
    fn members(&self) -> usize;
    /// The log cannot be followed any further from where this node was: it goes on after `position`, in `epoch`. Whoever
    /// is connected may have missed something, so every session ends, and none from before is recovered (semantics 11).
    fn restart(&self, epoch: u64, position: u64);
    /// A cast from another node, or this node's own where order with the log matters.
    fn receive(&self, cast: Cast);
    /// A request of another node.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Answer>;
    /// Stores that the connection of a session stands, if it does; resolves with whether that was done. An error is worth
    /// another try.
    fn assert(self: Arc<Self>, swept: Swept) -> BoxFuture<'static, Result<bool, StoreError>>;
}

/// One namespace's link to the other nodes.
pub trait Adapter: Send + Sync + 'static {
    /// This node.
    fn node(&self) -> &NodeId;

    /// The log's epoch. Changes only with [`Local::restart`].
    fn epoch(&self) -> u64;

    /// The position before the first one that a namespace opened now can be given.
    fn start_position(&self) -> u64;

    /// Resolves once casts and requests of the other nodes reach this one; clients are let in after that.
    fn opened(&self) -> BoxFuture<'static, ()>;

    /// Appends to the log. Calls from one thread are logged in their order. `done` is called once: with an error at once,
    /// else after this node has delivered the entry, so that who is told has seen what it is told about.
    ///
    /// With a record the event is stored before anybody gets it, and a second record with the same key reaches nobody.
    fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone);

    /// Reads what the log said to this namespace at positions above `after` and up to `through`, which this node has
    /// delivered and holds no more: for sessions that need it.
    ///
    /// The error says why it cannot be had: the log has not got it (any more), it is too much, or it took too long.
    fn read_log(
        &self,
        after: u64,
        through: u64,
    ) -> BoxFuture<'static, Result<Vec<Arc<Entry>>, NotRecovered>>;

    /// Sends to all other nodes and, unless it is for others only, behind everything appended so far, to this one. What one
    /// node casts arrives on each other in the order of the calls, as far as it arrives.
    fn cast(&self, cast: Cast);

    /// Asks all other nodes; resolves when all have answered or the time is up.
    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers>;

    /// How many nodes serve this namespace now, this one included.
    fn node_count(&self) -> usize;

    /// How many sockets are connected to the other nodes, as far as they have said: a moment ago, and maybe of other
    /// namespaces, too.
    fn members_elsewhere(&self) -> usize;

    /// The sessions of this namespace.
    fn sessions(&self) -> &dyn Sessions;

    /// Leaves the cluster: nothing more is delivered.
    fn close(&self);
}

/// Makes the adapter of each namespace.
pub trait Cluster: Send + Sync + 'static {
    /// Joins a namespace on this node. Called inside the node's tokio runtime, on which deliveries then run.
    ///
    /// With [`Delivery::Ephemeral`] the adapter only casts and asks: it delivers, advances and restarts nothing, its epoch
    /// and start position are 0, and nothing is appended to it nor stored in its sessions.
    fn open(&self, namespace: &str, delivery: Delivery, local: Weak<dyn Local>)
    -> Arc<dyn Adapter>;
}
