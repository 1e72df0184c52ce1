//! A Socket.IO 5 server: packets, namespaces, rooms, acknowledgements, middleware, operators, recovery.
//!
//! Existing Socket.IO 4 clients connect unchanged. What differs from Socket.IO's own server:
//!
//! - Clients get an event *because* the log of its namespace took it ([`log`]): one order for everybody, on every node. A
//!   namespace can be made without ([`Delivery::Ephemeral`]).
//! - Recovery works on every node of a cluster, also before the old connection is known to be gone, and passes
//!   middleware first ([`session`]).
//! - `join` and `leave` are awaited: they resolve when the session record is stored.
//! - Middleware runs before there is a socket ([`Connecting`]): a rejected client can be sent nothing.
//! - Handlers of one socket run one at a time, and the connect handler first.
//! - Answers of other nodes may be partial and name who is missing; nothing rejects as a whole.
//!
//! This crate knows no broker, no chat and no Kubernetes. [`adapter`] is the seam to the other nodes; its in-process form is
//! [`adapter::memory`].

mod ack;
pub mod adapter;
mod arguments;
mod backfill;
mod broadcast;
mod client;
mod config;
mod connect;
mod counters;
mod event;
mod extensions;
mod extract;
mod handler;
mod io;
pub mod level;
pub mod log;
mod member;
mod middleware;
mod namespace;
mod offset;
pub mod outside;
mod packet;
mod recovery;
mod registry;
mod server_side;
pub mod session;
mod sid;
mod socket;
mod window;

pub use ack::{AckError, AckSender, BroadcastAcks};
pub use arguments::{Arguments, Error as ArgumentsError};
pub use backfill::Backfill;
pub use broadcast::{Appending, Broadcast, Done, Fetched, Rooms};
pub use chatcluster_engineio as engineio;
pub use config::{Config, Delivery, Recovery};
pub use counters::{Counter, Counters, NotRecovered};
pub use event::{EmitError, EncodeError, Event};
pub use extract::{
    ConnectContext, Data, EventContext, EventName, Extension, FromConnect, FromEvent, Rejection,
    State, TryData,
};
pub use handler::{ConnectHandler, EventHandler};
pub use io::{Builder, NamespaceHandle, SocketIo};
pub use middleware::{ConnectError, Connecting};
pub use namespace::Namespace;
pub use offset::{ForeignOffset, Offset};
pub use server_side::ServerSideAnswers;
pub use sid::{NodeId, SessionKey, Sid};
pub use socket::{DisconnectReason, Socket, SocketRef};
