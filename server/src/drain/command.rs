//! `chatcluster-server drain`: tells a running server to drain and waits until it has. The image has no shell and no
//! `curl`, and a `preStop` hook must return when the drain is done, not when it was asked for.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::State;

/// How often the server is asked whether it is done.
const POLL: Duration = Duration::from_millis(500);
/// What one answer may take, from the connection on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read; a state has some fifty bytes.
const MAX_ANSWER_BYTES: usize = 4096;

/// The server was not drained, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("cannot reach the admin listener at {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// Somebody listens and says nothing.
    #[error("no answer from the admin listener at {address} within {patience:?}")]
    NoAnswer {
        /// The address.
        address: SocketAddr,
        /// How long was waited.
        patience: Duration,
    },
    /// The connection broke.
    #[error("ask the admin listener at {address}")]
    Ask {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It does not know of drains.
    #[error(
        "{method} /drain was answered with {status} at {address}: is this a chat server's admin listener?"
    )]
    Status {
        /// What was asked.
        method: Method,
        /// The answer.
        status: StatusCode,
        /// The address.
        address: SocketAddr,
    },
    /// It answers something else.
    #[error("the answer to /drain at {address} is not a drain's state")]
    Understand {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: serde_json::Error,
    },
    /// Nobody can be told.
    #[error("write to the standard output")]
    Write(#[from] std::io::Error),
}

/// Drains the server whose admin listener is at `address`; says on `out` what is left whenever that has changed.
///
/// There is no deadline for the whole: the server has one (`drain.deadline`), and says when it has passed.
///
/// # Errors
/// [`Error`].
pub async fn drain(address: SocketAddr, out: &mut impl Write) -> Result<(), Error> {
    let mut state = ask(address, Method::POST, PATIENCE).await?;
    let mut told = None;
    while !state.done {
        if told.replace(state.sessions) != Some(state.sessions) {
            writeln!(out, "draining, sessions left: {}", state.sessions)?;
        }
        sleep(POLL).await;
        state = ask(address, Method::GET, PATIENCE).await?;
    }
    writeln!(out, "drained, sessions left: {}", state.sessions)?;
    Ok(())
}

async fn ask(address: SocketAddr, method: Method, patience: Duration) -> Result<State, Error> {
    let asking = exchange(address, method);
    let nothing = |_| Err(Error::NoAnswer { address, patience });
    timeout(patience, asking).await.unwrap_or_else(nothing)
}

async fn exchange(address: SocketAddr, method: Method) -> Result<State, Error> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| Error::Connect { address, source })?;
    let broken = |source| Error::Ask { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let request = Request::builder()
        .method(method.clone())
        .uri("/drain")
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .expect("a request of these parts is well-formed");
    // Drops the sender at its end, and with it the connection.
    let asking = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
        Ok((status, body.collect().await?.to_bytes()))
    };
    // What ends the connection early ends the answer, too, and is said there.
    let (answer, _ended) = tokio::join!(asking, connection);
    let (status, body) = answer.map_err(broken)?;
    if !status.is_success() {
        return Err(Error::Status {
            method,
            status,
            address,
        });
    }
    serde_json::from_slice(&body).map_err(|source| Error::Understand { address, source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, routing::get};
    use tokio::net::TcpListener;

    use super::*;
    use crate::drain::Drain;
    use crate::http::{self, Readiness};
    use crate::metrics::Metrics;
    use crate::reload::Status;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// The address of a server with these routes, for as long as the test's runtime lives.
    async fn serving(routes: Router) -> SocketAddr {
        let (listener, address) = listener().await;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    fn pace(settle: Duration) -> chatcluster_chat_api::Drain {
        chatcluster_chat_api::Drain {
            settle,
            deadline: Duration::from_secs(30),
            rate: 100,
        }
    }

    #[tokio::test]
    async fn the_command_returns_when_the_server_says_that_it_is_done() {
        let readiness = Arc::new(Readiness::default());
        let accepting = readiness.flag("accepting", "draining");
        accepting.set(true);
        let server = Arc::new(Drain::new(Vec::new(), accepting));
        let reload = Status::new(None, b"", std::iter::empty());
        let routes = http::admin(&readiness, &Arc::new(Metrics::new()), &server, &reload);
        let address = serving(routes).await;
        let settle = Duration::from_millis(600);
        let (begun, asked) = (server.clone(), std::time::Instant::now());
        let draining = tokio::spawn(async move {
            begun.begun().await;
            assert!(!readiness.is_ready());
            begun.run(&pace(settle)).await;
        });
        let mut said = Vec::new();
        drain(address, &mut said).await.unwrap();
        assert!(asked.elapsed() >= settle, "before the server was done");
        draining.await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(
            said,
            "draining, sessions left: 0\ndrained, sessions left: 0\n"
        );

        // Once more, as a preStop after an operator's drain: at once, and without a second drain.
        let mut said = Vec::new();
        drain(address, &mut said).await.unwrap();
        assert_eq!(said, b"drained, sessions left: 0\n");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let (listener, address) = listener().await;
        drop(listener);
        let error = drain(address, &mut Vec::new()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot reach the admin listener at {address}")
        );
    }

    #[tokio::test]
    async fn another_server_is_not_taken_for_a_drained_one() {
        let address = serving(Router::new()).await;
        let error = drain(address, &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, Error::Status { .. }), "{error:?}");
        let hello = Router::new().route("/drain", get(async || "hello").post(async || "hello"));
        let address = serving(hello).await;
        let error = drain(address, &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, Error::Understand { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let (listener, address) = listener().await;
        let silent = tokio::spawn(async move { listener.accept().await });
        let asked = ask(address, Method::POST, Duration::from_millis(50)).await;
        assert!(matches!(asked, Err(Error::NoAnswer { .. })), "{asked:?}");
        silent.await.unwrap().unwrap();
    }
}
