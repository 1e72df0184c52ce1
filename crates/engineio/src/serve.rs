//! The accept loop: TCP connections into HTTP/1.1 requests with upgrades.
//!
//! It owns the tasks of the connections until they are upgraded or closed. An upgraded connection belongs to whoever
//! upgraded it.
//!
//! Nothing that a client leaves undone keeps its connection: the head and the time between requests have
//! [`Options::header_read_timeout`], an answer that is not read has [`Options::write_timeout`]. How long a body may take
//! is up to the service that reads it; one that no service reads closes the connection with the answer.

mod stream;

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::service::RemoteAddr;

pub(crate) use stream::Stream;

/// How long to wait when no connection can be accepted, for want of file descriptors for example.
const BACK_OFF: Duration = Duration::from_millis(100);
/// What happens to each of many connections is logged once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The bounds of the accept loop.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time in which a request's head must arrive; also the longest idle time between requests.
    pub header_read_timeout: Duration,
    /// The time in which the client must take at least some of what is written to it. Ends at an upgrade.
    pub write_timeout: Duration,
    /// The most bytes that are buffered of a connection, and so the longest request head. At least 8 KiB.
    pub max_buf_size: usize,
    /// The most connections that speak HTTP at the same time, with or without a request under way; upgraded ones do not
    /// count. Beyond it a new connection is closed at once. `None` is no limit but the system's. It may be changed while
    /// connections are served.
    pub max_connections: Option<Arc<AtomicUsize>>,
    /// How long requests may go on after the shutdown signal.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_buf_size: 16 << 10,
            max_connections: None,
            grace: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP/1.1 on the listener until `shutdown` resolves. Then it accepts no more, lets the requests under way
/// finish for [`Options::grace`], and drops what is left.
pub async fn serve<S, B>(listener: TcpListener, service: S, options: Options, shutdown: impl Future)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let (stop, stopped) = watch::channel(());
    let mut failed = Repeated::default();
    let mut refused = Repeated::default();
    loop {
        let (stream, remote) = tokio::select! {
            // A connection that has ended makes room before the next one is looked at.
            biased;
            _ = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = accept(&listener, &mut failed) => accepted,
        };
        if options
            .max_connections
            .as_ref()
            .is_some_and(|most| connections.len() >= most.load(Ordering::Relaxed))
        {
            if let Some(count) = refused.again() {
                tracing::warn!(
                    connections = connections.len(),
                    refused = count,
                    "connections are closed unserved: too many are open"
                );
            }
            continue;
        }
        connections.spawn(connection(
            stream,
            remote,
            service.clone(),
            options.clone(),
            stopped.clone(),
        ));
    }
    drop(listener);
    // The receivers learn of the end by the sender's.
    drop(stop);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if timeout(options.grace, all).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests were still under way at the end of the grace time"
        );
        connections.shutdown().await;
    }
}

/// Something that may happen often and is logged now and then.
#[derive(Default)]
struct Repeated {
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl Repeated {
    /// It happened again: how often since it was logged, if it is to be logged now.
    fn again(&mut self) -> Option<u64> {
        self.unlogged += 1;
        if self
            .logged_at
            .is_some_and(|then| then.elapsed() < LOG_INTERVAL)
        {
            return None;
        }
        self.logged_at = Some(Instant::now());
        Some(std::mem::take(&mut self.unlogged))
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection's task panicked");
    }
}

/// The next connection, ready for use. Errors are waited out: there is nobody who could do better.
async fn accept(listener: &TcpListener, failed: &mut Repeated) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                // With Nagle's algorithm a broadcast waits for delayed acknowledgements: 22 ms instead of 2.6.
                match stream.set_nodelay(true) {
                    Ok(()) => return (stream, remote),
                    Err(error) => {
                        tracing::debug!(%error, "connection was gone before it was served");
                    }
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if let Some(times) = failed.again() {
                    tracing::error!(%error, times, "no connection can be accepted");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn connection<S, B>(
    stream: TcpStream,
    remote: SocketAddr,
    service: S,
    options: Options,
    mut stopped: watch::Receiver<()>,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(RemoteAddr(remote));
        service.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_buf_size(options.max_buf_size)
        .serve_connection(Stream::new(stream, options.write_timeout), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_nodelay_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut failed = Repeated::default();
        let (_client, (server, remote)) =
            tokio::join!(TcpStream::connect(address), accept(&listener, &mut failed));
        assert!(server.nodelay().unwrap());
        assert!(remote.ip().is_loopback());
    }
}
