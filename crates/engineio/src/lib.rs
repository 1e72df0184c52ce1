//! An Engine.IO 4 server: the transport below Socket.IO.
//!
//! An [`Engine`] turns HTTP requests into [`Session`]s over long-polling and WebSocket. It owns the wire: handshakes,
//! packets, payloads, heartbeats, upgrades, limits and close reasons. What the messages mean is decided by the
//! layer above, which plugs in through [`Accept`] (one per engine) and [`Connection`] (one per session).
//!
//! An idle WebSocket session costs one [`Session`], one task and its socket: there is no read buffer, no timer and no
//! channel per connection. `docs/architecture.md` of the project walks through the files.

mod accept;
mod clock;
mod close_reason;
mod config;
mod cors;
mod counters;
mod engine;
mod frame;
mod handshake;
mod message;
mod packet;
mod payload;
mod polling;
mod query;
mod registry;
mod rejection;
pub mod serve;
mod service;
mod session;
mod sid;
mod sid_tag;
mod websocket;
mod wheel;

pub use accept::{Accept, Connection, Flow, Refusal};
pub use close_reason::CloseReason;
pub use config::{Config, ConfigError, Cors, Origins, Transports};
pub use counters::{Counter, Counters};
pub use engine::Engine;
pub use frame::Frame;
pub use handshake::Handshake;
pub use message::{Message, Text};
pub use service::{EngineService, RemoteAddr};
pub use session::{SendError, Session, TransportKind};
pub use sid::Sid;
pub use sid_tag::SidTag;
pub use websocket::is_upgrade;
