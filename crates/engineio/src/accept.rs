//! The seam to the layer above: who may open a session, and what happens to its messages.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::close_reason::CloseReason;
use crate::handshake::Handshake;
use crate::message::Message;
use crate::session::Session;

/// Decides about handshakes and gives each session its [`Connection`].
pub trait Accept: Send + Sync + 'static {
    /// Whether this client may open a session. Called for handshakes only, never for a later request of a session.
    ///
    /// # Errors
    /// A [`Refusal`] is answered to the client; no session is made.
    fn admit(&self, handshake: &Handshake) -> Result<(), Refusal> {
        let _ = handshake;
        Ok(())
    }

    /// Called once for each session, before anything of it but the handshake packet is sent. Frames that are sent
    /// from here follow the handshake packet.
    fn open(&self, session: &Arc<Session>) -> Arc<dyn Connection>;
}

/// What the layer above does with one session.
///
/// `message` and `closed` of one session are called in order and never at the same time. They run on the task that
/// reads the transport: they must not block, and may call any method of the session.
pub trait Connection: Send + Sync + 'static {
    /// One message. [`Flow::Pause`] stops reading after it, until [`Session::resume`].
    fn message(&self, session: &Arc<Session>, message: Message) -> Flow;

    /// The session has ended. Called exactly once, and nothing is called after it. It is never called from inside
    /// [`Session::close`], so that a lock held there cannot deadlock here.
    fn closed(&self, session: &Arc<Session>, reason: CloseReason);

    /// A time asked for with [`Session::set_timeout`] has passed. Called on the engine's timer task, perhaps at the
    /// same time as `message`; must be quick.
    fn timeout(&self, session: &Arc<Session>, token: u32) {
        let _ = (session, token);
    }
}

/// Whether to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// Read nothing more until [`Session::resume`]. A resume that comes before this is returned counts.
    Pause,
}

/// The answer to a handshake that is not admitted: `{"code":4,"message":..}`.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status; 403 unless said otherwise. A refused WebSocket handshake shows 400 instead of 403.
    pub status: StatusCode,
    /// What the client is told.
    pub message: Cow<'static, str>,
    /// Further headers, for example `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// 403 with this message.
    #[must_use]
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::FORBIDDEN, message)
    }

    /// A refusal with another status, for example 429 or 503.
    #[must_use]
    pub fn with_status(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a `Retry-After` header, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Default for Refusal {
    fn default() -> Self {
        Self::forbidden("Forbidden")
    }
}
