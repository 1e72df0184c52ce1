//! The end of a WebSocket: what is left to say, the close frame, and a short wait for the peer to have read it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::control;
use crate::engine::Shared;
use crate::session::SendQueue;

/// How long the peer may take to read the close frame and close. A socket closed with unread input resets the
/// connection, and the peer might lose what was sent last.
const LINGER: Duration = Duration::from_secs(2);
const CHUNK_BYTES: usize = 16 << 10;

/// A transport to be closed.
pub(super) struct Remains<Io> {
    pub(super) io: Io,
    pub(super) queue: SendQueue,
    pub(super) close_code: u16,
    /// How long writing the queue may take.
    pub(super) flush_for: Option<Duration>,
}

/// Closes the transport within a bound.
pub(super) async fn close<Io: AsyncRead + AsyncWrite + Unpin>(
    remains: Remains<Io>,
    shared: Arc<Shared>,
) {
    let _live = LiveTask::start(shared);
    let Remains {
        mut io,
        mut queue,
        close_code,
        flush_for,
    } = remains;
    let bound = flush_for.unwrap_or(LINGER);
    let closing = async {
        write_queue(&mut io, &mut queue).await?;
        io.write_all(&control::close(close_code)).await?;
        io.shutdown().await?;
        if let Ok(discarded) = timeout(LINGER, discard(&mut io)).await {
            discarded?;
        }
        std::io::Result::Ok(())
    };
    // A peer that is gone, or that does not read, has missed the rest; either way the socket is closed now.
    match timeout(bound, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "peer went away during the close"),
        Err(_) => tracing::debug!("peer did not read until the deadline of the close"),
    }
}

async fn write_queue<Io: AsyncWrite + Unpin>(
    io: &mut Io,
    queue: &mut SendQueue,
) -> std::io::Result<()> {
    let mut chunk = Vec::new();
    while let Some(frame) = queue.pop() {
        chunk.extend_from_slice(frame.wire());
        if chunk.len() >= CHUNK_BYTES || queue.is_empty() {
            io.write_all(&chunk).await?;
            chunk.clear();
        }
    }
    Ok(())
}

async fn discard<Io: AsyncRead + Unpin>(io: &mut Io) -> std::io::Result<()> {
    let mut buffer = [0; 256];
    while io.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Counts a task among what [`crate::Engine::close`] waits for.
pub(crate) struct LiveTask(Arc<Shared>);

impl LiveTask {
    pub(crate) fn start(shared: Arc<Shared>) -> Self {
        shared.live.add();
        Self(shared)
    }
}

impl Drop for LiveTask {
    fn drop(&mut self) {
        self.0.live.remove();
    }
}
