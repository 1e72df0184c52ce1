//! A WebSocket that wants to take over a long-polling session: `2probe`, `3probe`, `5`.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::close_code;
use super::closing::{self, Remains};
use super::control;
use super::decoder::{Decoder, Event};
use super::task::WebSocketTask;
use crate::engine::Shared;
use crate::frame::Frame;
use crate::message::Text;
use crate::session::{SendQueue, Session};

const READ_BYTES: usize = 512;

/// The WebSocket is not going to carry the session; it is closed, with this code if the peer can still be told.
struct Refused(Option<u16>);

/// Probes the WebSocket; it becomes the session's transport, or is closed while long-polling goes on.
pub(crate) async fn probe<Io>(io: Io, unread: Vec<u8>, session: Arc<Session>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut socket = Socket {
        io,
        decoder: Decoder::default(),
        unread,
    };
    let shared = Arc::clone(session.shared());
    let bound = shared.config.upgrade_timeout;
    let pending = GivesUp(&session);
    let outcome = tokio::select! {
        biased;
        outcome = timeout(bound, upgrade(&mut socket, &session)) => outcome.unwrap_or(Err(Refused(Some(close_code::NORMAL)))),
        () = session.ended() => Err(Refused(Some(close_code::NORMAL))),
    };
    drop(pending);
    let Socket {
        io,
        decoder,
        unread,
    } = socket;
    match outcome {
        Ok(()) => {
            if let Some(task) = WebSocketTask::new(io, session, decoder, unread) {
                shared.runtime.spawn(task);
            }
        }
        Err(Refused(Some(code))) => close_with(io, code, shared).await,
        Err(Refused(None)) => {}
    }
}

/// Closes a WebSocket that no session can use.
pub(crate) async fn close_surplus<Io: AsyncRead + AsyncWrite + Unpin>(io: Io, shared: Arc<Shared>) {
    close_with(io, close_code::NORMAL, shared).await;
}

async fn close_with<Io: AsyncRead + AsyncWrite + Unpin>(
    io: Io,
    close_code: u16,
    shared: Arc<Shared>,
) {
    let remains = Remains {
        io,
        queue: SendQueue::default(),
        close_code,
        flush_for: None,
    };
    closing::close(remains, shared).await;
}

/// Gives the upgrade up when dropped; does nothing once it is complete.
struct GivesUp<'a>(&'a Session);

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        self.0.give_up_upgrade();
    }
}

async fn upgrade<Io: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<Io>,
    session: &Arc<Session>,
) -> Result<(), Refused> {
    let most = session.shared().config.max_payload;
    if &*socket.next_text(most).await? != "2probe" {
        return Err(Refused(Some(close_code::NORMAL)));
    }
    // In this order: a client that has the answer may send a GET at once, which must be known as one of the upgrade.
    session.probed();
    socket.write(Frame::packet("3probe").wire()).await?;
    if &*socket.next_text(most).await? != "5" {
        return Err(Refused(Some(close_code::NORMAL)));
    }
    session
        .complete_upgrade()
        .await
        .map_err(|_| Refused(Some(close_code::NORMAL)))
}

/// A WebSocket without a session.
struct Socket<Io> {
    io: Io,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Socket<Io> {
    async fn next_text(&mut self, most: usize) -> Result<Text, Refused> {
        loop {
            match self.next_event(most)? {
                Some(Event::Text(text)) => return Ok(text),
                Some(Event::Ping(payload)) => self.write(&control::pong(&payload)).await?,
                Some(Event::Pong) => {}
                Some(Event::Close(code)) => return Err(Refused(Some(code))),
                Some(Event::Binary(_)) => return Err(Refused(Some(close_code::NORMAL))),
                None => self.read().await?,
            }
        }
    }

    fn next_event(&mut self, most: usize) -> Result<Option<Event>, Refused> {
        let mut input = &self.unread[..];
        let event = self
            .decoder
            .decode(&mut input, most)
            .map_err(|violation| Refused(Some(violation.close_code())))?;
        let used = self.unread.len() - input.len();
        self.unread.drain(..used);
        Ok(event)
    }

    async fn read(&mut self) -> Result<(), Refused> {
        let mut buffer = [0; READ_BYTES];
        match self.io.read(&mut buffer).await {
            Ok(0) | Err(_) => Err(Refused(None)),
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Ok(())
            }
        }
    }

    async fn write(&mut self, wire: &[u8]) -> Result<(), Refused> {
        self.io.write_all(wire).await.map_err(|_| Refused(None))
    }
}
