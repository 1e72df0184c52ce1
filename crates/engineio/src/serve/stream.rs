//! The socket below HTTP: a TCP stream whose writes have a deadline.
//!
//! Hyper bounds how long a request's head may take, not how long an answer may lie unread. `tokio-io-timeout` would, but
//! it is pinned: the upgrade could not take the plain TCP stream back out of it, and every WebSocket would keep its timer.

use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::net;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A TCP stream that fails once the peer has taken nothing of what is to be written for the whole of the timeout.
pub(crate) struct Stream {
    io: TokioIo<TcpStream>,
    write_timeout: Duration,
    /// While a write waits. Most never do, so that there is no timer before one does.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            io: TokioIo::new(stream),
            write_timeout,
            deadline: None,
        }
    }

    /// The stream without its deadline, for the transport that follows HTTP.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.io.into_inner()
    }

    /// Any progress, however small, begins the time anew. `again` is the same write on the bare socket.
    fn bound(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        again: impl FnOnce(net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = self.write_timeout;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        // The system calls a socket writable only when a third of its buffer is free, and its word may be late in a process that
        // was held up: what the peer has taken is asked of the socket itself.
        if let Ok(written) = self.bare().and_then(again) {
            self.deadline = None;
            return Poll::Ready(Ok(written));
        }
        // Closed with a reset: what the peer does not read would otherwise wait in the kernel for minutes more.
        if let Err(error) = self.io.inner().set_zero_linger() {
            tracing::trace!(%error, "connection was gone before its deadline");
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The socket past the runtime, which writes only when it was told that there is room.
    fn bare(&self) -> io::Result<net::TcpStream> {
        let socket = self.io.inner().as_fd().try_clone_to_owned()?;
        Ok(socket.into())
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bound(cx, written, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.bound(cx, written, |mut socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// TCP has nothing to flush and shuts down without waiting; neither needs a deadline.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpSocket;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);
    /// Bytes of a write.
    const CHUNK: usize = 64 << 10;

    /// A stream with a large buffer, and its peer with a small one.
    async fn pair() -> (Stream, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(1 << 20).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(8192).unwrap();
        let peer = peer.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        (Stream::new(stream, TIMEOUT), peer)
    }

    fn poll_write(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(stream).poll_write(cx, &[0; CHUNK])
    }

    async fn write(stream: &mut Stream) -> io::Result<usize> {
        poll_fn(|cx| poll_write(stream, cx)).await
    }

    /// Resolves when nothing more can be written.
    async fn fill(stream: &mut Stream) {
        poll_fn(|cx| match poll_write(stream, cx) {
            Poll::Ready(written) => {
                written.unwrap();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Ready(()),
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_peer_has_taken_counts_also_when_the_system_does_not_tell_of_it() {
        let (mut stream, mut peer) = pair().await;
        fill(&mut stream).await;
        // More than its buffer holds, so that room has come on this side; less than a third of this side's buffer.
        peer.read_exact(&mut [0; 40 << 10]).await.unwrap();
        assert!(write(&mut stream).await.unwrap() > 0);
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (mut stream, _peer) = pair().await;
        let begin = Instant::now();
        let error = loop {
            if let Err(error) = write(&mut stream).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= TIMEOUT);
    }
}
