//! WebSocket, server side (RFC 6455), made for many idle connections.
//!
//! An idle connection owns no buffer: reads go through one buffer per thread, and only what is left of an unfinished
//! frame stays with the connection. Writes take whole batches of frames from the session's queue. There are no
//! extensions.

mod closing;
mod control;
mod decoder;
mod handshake;
mod probe;
mod scratch;
mod task;

pub(crate) use handshake::accept;
pub use handshake::is_upgrade;
pub(crate) use probe::{close_surplus, probe};
pub(crate) use task::WebSocketTask;

/// Close codes of RFC 6455, section 7.4.1.
mod close_code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const PROTOCOL_ERROR: u16 = 1002;
    pub(super) const INVALID_TEXT: u16 = 1007;
    pub(super) const TOO_BIG: u16 = 1009;
}
