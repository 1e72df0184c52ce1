//! The one task of a WebSocket session: reads, writes and ends. Written by hand, for every byte of it counts once per
//! connection.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::close_code;
use super::closing::{self, Remains};
use super::control;
use super::decoder::{Decoder, Event};
use super::scratch::{BATCH, Scratch};
use crate::accept::Connection;
use crate::clock::Micros;
use crate::close_reason::CloseReason;
use crate::frame::Frame;
use crate::message::Message;
use crate::packet::Packet;
use crate::session::{Batch, Ending, Received, Session};

/// A connection that sends without end lets others have their turn after so many reads.
const READS_PER_POLL: usize = 8;

/// The task of a WebSocket session. It holds the reader token.
pub(crate) struct WebSocketTask<Io> {
    /// Until the end.
    io: Option<Io>,
    session: Arc<Session>,
    connection: Arc<dyn Connection>,
    decoder: Decoder,
    /// What was read behind the message that paused the reading.
    unread: Vec<u8>,
}

/// How far reading came.
enum Progress {
    /// There may be more.
    More,
    /// The socket has nothing.
    Pending,
    /// Reading is paused, or the session has ended.
    Stopped,
}

/// The transport is at its end.
struct Fault {
    ending: Ending,
    /// The code of the close frame, if the peer can still be told.
    close_code: Option<u16>,
}

impl Fault {
    fn new(reason: CloseReason, close_code: Option<u16>) -> Self {
        Self {
            ending: Ending::of(reason),
            close_code,
        }
    }

    fn broken(error: &io::Error) -> Self {
        tracing::trace!(%error, "transport failed");
        Self::new(CloseReason::TransportError, None)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> WebSocketTask<Io> {
    /// `unread` is what was read from the socket already, behind what `decoder` has seen. None if the layer above
    /// never took the session.
    pub(super) fn new(
        io: Io,
        session: Arc<Session>,
        decoder: Decoder,
        unread: Vec<u8>,
    ) -> Option<Self> {
        let Some(connection) = session.connection() else {
            session.release_reader();
            return None;
        };
        session.shared().live.add();
        Some(Self {
            io: Some(io),
            session,
            connection,
            decoder,
            unread,
        })
    }

    /// A task for a session that begins on a WebSocket.
    pub(crate) fn begin(io: Io, session: Arc<Session>, unread: Vec<u8>) -> Option<Self> {
        Self::new(io, session, Decoder::default(), unread)
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Progress, Fault> {
        let progress = self.read(cx)?;
        self.write(cx).map_err(|error| Fault::broken(&error))?;
        // Looked at after `write` has registered the waker: a resume before that would have woken nobody.
        match progress {
            Progress::Stopped if !self.session.is_paused() => Ok(Progress::More),
            progress => Ok(progress),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Progress, Fault> {
        if self.session.is_paused() || self.session.is_closed() {
            return Ok(Progress::Stopped);
        }
        if !self.unread.is_empty() {
            let unread = std::mem::take(&mut self.unread);
            return self.consume(&unread);
        }
        let Some(io) = &mut self.io else {
            return Ok(Progress::Stopped);
        };
        let mut scratch = Scratch::take();
        let mut buffer = ReadBuf::new(&mut scratch.read);
        match Pin::new(io).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(Progress::Pending),
            Poll::Ready(Err(error)) => Err(Fault::broken(&error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Err(Fault::new(CloseReason::TransportClose, None))
            }
            Poll::Ready(Ok(())) => {
                let input = buffer.filled();
                self.session.counters().bytes_in.add(input.len() as u64);
                self.consume(input)
            }
        }
    }

    fn consume(&mut self, mut input: &[u8]) -> Result<Progress, Fault> {
        let most = self.session.shared().config.max_payload;
        let mut packets = 0;
        let outcome = loop {
            match self.decoder.decode(&mut input, most) {
                Ok(None) => break Ok(Progress::More),
                Ok(Some(event)) => match self.react(event) {
                    Ok(Received::Continue) if !self.session.is_closed() => packets += 1,
                    Ok(_) => {
                        packets += 1;
                        self.unread = input.to_vec();
                        break Ok(Progress::Stopped);
                    }
                    Err(fault) => break Err(fault),
                },
                Err(violation) => {
                    break Err(Fault::new(
                        CloseReason::TransportError,
                        Some(violation.close_code()),
                    ));
                }
            }
        };
        self.session.counters().packets_in.add(packets);
        outcome
    }

    fn react(&mut self, event: Event) -> Result<Received, Fault> {
        let packet = match event {
            Event::Text(text) => Packet::parse(text).ok_or_else(|| {
                Fault::new(CloseReason::ParseError, Some(close_code::PROTOCOL_ERROR))
            })?,
            Event::Binary(bytes) => Packet::Message(Message::Binary(bytes)),
            Event::Ping(payload) => {
                self.session.send_control(control::pong(&payload));
                return Ok(Received::Continue);
            }
            Event::Pong => return Ok(Received::Continue),
            Event::Close(code) => return Err(Fault::new(CloseReason::TransportClose, Some(code))),
        };
        match self.session.receive(packet, &self.connection) {
            Received::Close(ending) => Err(Fault {
                ending,
                close_code: Some(close_code::NORMAL),
            }),
            received => Ok(received),
        }
    }

    /// Writes until nothing is queued or the socket is full. Either way the waker is registered.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(io) = &mut self.io else {
            return Ok(());
        };
        let mut scratch = Scratch::take();
        loop {
            let batch = self
                .session
                .take_batch(cx.waker(), &mut scratch.batch, BATCH);
            let Batch::Frames {
                is_last,
                has_waiters,
            } = batch
            else {
                return Ok(());
            };
            let queued = scratch.batch.len();
            let (written, is_done) = write_batch(io, cx, &mut scratch.batch)?;
            let counters = self.session.counters();
            counters.bytes_out.add(written);
            counters
                .packets_out
                .add((queued - scratch.batch.len()) as u64);
            if !is_done {
                self.session.put_back(&mut scratch.batch);
                return Ok(());
            }
            if has_waiters {
                self.session.wake_drained();
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Ends the session, if it has not ended, and leaves the socket to a task that closes it within a bound.
    fn finish(&mut self, cx: &mut Context<'_>, fault: Option<Fault>) {
        let close_code = match fault {
            Some(fault) => {
                self.session.end(fault.ending);
                if fault.close_code.is_some()
                    && let Err(error) = self.write(cx)
                {
                    tracing::trace!(%error, "transport failed while it was closed");
                }
                fault.close_code
            }
            None => Some(self.session.close_code()),
        };
        let (queue, flush_until) = self.session.take_rest();
        let flush_for = flush_until.map(|until| self.flush_time(until));
        // What one write could not take is dropped, unless time was granted for it; then the socket simply closes.
        let is_abrupt = !queue.is_empty() && flush_for.is_none();
        if let (Some(io), Some(close_code), false) = (self.io.take(), close_code, is_abrupt) {
            let remains = Remains {
                io,
                queue,
                close_code,
                flush_for,
            };
            let shared = self.session.shared();
            shared
                .runtime
                .spawn(closing::close(remains, Arc::clone(shared)));
        }
    }

    fn flush_time(&self, until: Micros) -> std::time::Duration {
        until.since(self.session.shared().clock.now()).as_duration()
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Future for WebSocketTask<Io> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..READS_PER_POLL {
            let fault = match this.turn(cx) {
                Err(fault) => Some(fault),
                Ok(_) if this.session.is_closed() => None,
                Ok(Progress::More) => continue,
                Ok(Progress::Pending | Progress::Stopped) => return Poll::Pending,
            };
            this.finish(cx, fault);
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<Io> Drop for WebSocketTask<Io> {
    fn drop(&mut self) {
        // Only a task that was cancelled, or in which the layer above panicked, has not ended its session here.
        self.session.end(Ending::of(CloseReason::TransportError));
        self.session.release_reader();
        self.session.shared().live.remove();
    }
}

/// Writes the batch as far as the socket takes it; leaves in it what did not go through.
fn write_batch<Io: AsyncWrite + Unpin>(
    io: &mut Io,
    cx: &mut Context<'_>,
    batch: &mut Vec<Frame>,
) -> io::Result<(u64, bool)> {
    let mut total = 0;
    while !batch.is_empty() {
        let written = match batch.as_slice() {
            [only] => Pin::new(&mut *io).poll_write(cx, only.wire()),
            frames => {
                let mut slices = [IoSlice::new(&[]); BATCH];
                for (slice, frame) in slices.iter_mut().zip(frames) {
                    *slice = IoSlice::new(frame.wire());
                }
                Pin::new(&mut *io).poll_write_vectored(cx, &slices[..frames.len().min(BATCH)])
            }
        };
        match written {
            Poll::Pending => return Ok((total, false)),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => {
                total += written as u64;
                advance(batch, written);
            }
        }
    }
    Ok((total, true))
}

/// Removes what was written.
fn advance(batch: &mut Vec<Frame>, mut written: usize) {
    let whole = batch
        .iter()
        .take_while(|frame| {
            let is_whole = frame.len_bytes() <= written;
            if is_whole {
                written -= frame.len_bytes();
            }
            is_whole
        })
        .count();
    batch.drain(..whole);
    if let Some(first) = batch.first_mut() {
        first.advance(written);
    }
}

impl Session {
    /// The code of the close frame when the server ends the session.
    fn close_code(&self) -> u16 {
        match self.close_reason() {
            Some(CloseReason::ServerShuttingDown) => close_code::GOING_AWAY,
            _ => close_code::NORMAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_connection_is_small() {
        let task = size_of::<WebSocketTask<tokio::net::TcpStream>>();
        println!(
            "WebSocketTask {task} bytes, of which TcpStream {}",
            size_of::<tokio::net::TcpStream>()
        );
        assert!(task <= 128, "{task}");
    }

    #[test]
    fn what_is_written_leaves_the_batch() {
        let frames = || [Frame::text("a"), Frame::text("bc"), Frame::text("def")].to_vec();
        let whole: Vec<u8> = frames()
            .iter()
            .flat_map(|frame| frame.wire().to_vec())
            .collect();
        for written in 0..=whole.len() {
            let mut batch = frames();
            advance(&mut batch, written);
            let rest: Vec<u8> = batch
                .iter()
                .flat_map(|frame| frame.wire().to_vec())
                .collect();
            assert_eq!(rest, whole[written..], "{written}");
        }
    }
}
