//! Sessions (stub).
use crate::{CloseReason, Frame, Handshake, Sid};
use std::time::Duration;

/// The transport that carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl TransportKind {
    /// The transport's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why frames were not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
    /// The queue is at its bound; nothing was queued.
    #[error("the send queue is full")]
    Full,
}

/// One client.
pub struct Session {
    id: Sid,
    handshake: Handshake,
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::must_use_candidate, clippy::unused_async)]
impl Session {
    pub fn id(&self) -> &Sid {
        &self.id
    }
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }
    pub fn transport(&self) -> TransportKind {
        TransportKind::Polling
    }
    pub fn send(&self, frames: &[Frame]) -> Result<(), SendError> {
        let _ = frames;
        Ok(())
    }
    pub fn send_beyond_bound(&self, frames: &[Frame]) -> Result<(), SendError> {
        let _ = frames;
        Ok(())
    }
    pub fn is_writable(&self) -> bool {
        false
    }
    pub fn queued_bytes(&self) -> usize {
        0
    }
    pub async fn drained(&self) {}
    pub fn resume(&self) {}
    pub fn close(&self, reason: CloseReason) {
        let _ = reason;
    }
    pub fn close_after_flush(&self, reason: CloseReason, deadline: Duration) {
        let _ = (reason, deadline);
    }
    pub fn is_closed(&self) -> bool {
        false
    }
    pub fn set_timeout(&self, after: Duration, token: u32) {
        let _ = (after, token);
    }
}
