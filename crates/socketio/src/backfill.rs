//! Backfill: what a client that could not be recovered is sent from the application's history, before it goes live.
//!
//! History first, then what was logged since, then live: nothing overtakes and nothing comes twice. The events carry an
//! offset that names no position ([`Offset::UNFINISHED`]): a client that is cut off in the middle gets its session back
//! and is sent history once more, from where it tells the application that it stood. So is one that comes back before it
//! has seen anything of its session.

use crate::event::{EmitError, Event};
use crate::offset::Offset;
use crate::socket::SocketRef;

/// A socket that is not live yet.
pub struct Backfill {
    socket: SocketRef,
    start: u64,
}

impl Backfill {
    pub(crate) fn new(socket: SocketRef, start: u64) -> Self {
        Self { socket, start }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &SocketRef {
        &self.socket
    }

    /// The position up to which history is to be sent; the log takes over above it.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.start
    }

    /// Sends one event, ahead of everything live. Await [`Backfill::drained`] now and then.
    ///
    /// # Errors
    /// [`EmitError::Closed`] when the client has gone, [`EmitError::QueueFull`] when it was sent too much at once.
    pub fn send(&self, event: &Event, position: u64) -> Result<(), EmitError> {
        let offset = self
            .socket
            .has_offsets()
            .then(|| Offset::UNFINISHED.to_string());
        let frames = event.frames(
            self.socket.namespace().path(),
            None,
            position,
            offset.as_deref(),
        );
        self.socket
            .session()
            .send(&frames)
            .map_err(|error| match error {
                chatcluster_engineio::SendError::Closed => EmitError::Closed,
                chatcluster_engineio::SendError::Full => EmitError::QueueFull,
            })
    }

    /// Resolves when little is queued for the client, or it has gone.
    pub async fn drained(&self) {
        self.socket.drained().await;
    }
}
