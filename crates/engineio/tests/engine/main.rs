//! The engine as clients see it: every rule of the protocol, byte by byte, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod closing;
mod cors;
mod fixture;
mod foreign_io;
mod handshake;
mod heartbeat;
mod polling;
mod sending;
mod serving;
mod upgrade;
mod websocket;
