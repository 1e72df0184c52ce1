//! Backfill: what a client that could not be recovered is sent from the application's history, before it goes live.
//!
//! History first, then what was logged since, then live: nothing overtakes and nothing comes twice. The events carry an
//! offset that names no position ([`Offset::UNFINISHED`]): a client that is cut off in the middle gets its session back
//! and is sent history once more, from where it tells the application that it stood. So is one that comes back before it
//! has seen anything of its session.

use crate::event::{EmitError, Event};
use crate::offset::Offset;
use crate::socket::SocketRef;

/// Bytes that are queued before the rest waits.
const CHUNK_BYTES: usize = 64 * 1024;

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

    /// Sends one event, ahead of everything live; waits where much is queued already, so that history of any length goes
    /// at the client's pace.
    ///
    /// # Errors
    /// [`EmitError::Closed`] when the client has gone.
    pub async fn send(&self, event: &Event, position: u64) -> Result<(), EmitError> {
        let offset = self
            .socket
            .has_offsets()
            .then(|| Offset::UNFINISHED.to_string());
        let namespace = self.socket.namespace();
        let frames = event.frames(namespace.path(), None, position, offset.as_deref());
        if !namespace.send_history(&self.socket, &frames) {
            return Err(EmitError::Closed);
        }
        if self.socket.session().queued_bytes() > CHUNK_BYTES {
            self.socket.drained().await;
        }
        Ok(())
    }
}
