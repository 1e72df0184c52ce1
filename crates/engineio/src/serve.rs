//! The accept loop: TCP connections into HTTP/1.1 requests with upgrades.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::TcpListener;

/// The bounds of the accept loop.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time in which a request's head must arrive; also the longest idle time between requests.
    pub header_read_timeout: Duration,
    /// The most bytes that are buffered of a connection, and so the longest request head.
    pub max_buf_size: usize,
    /// How long requests may go on after the shutdown signal.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { header_read_timeout: Duration::from_secs(10), max_buf_size: 16 << 10, grace: Duration::from_secs(10) }
    }
}

/// Serves HTTP/1.1 on the listener until `shutdown` resolves.
pub async fn serve<S, B>(listener: TcpListener, service: S, options: Options, shutdown: impl Future)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    drop((listener, service, options));
    shutdown.await;
}
