//! What the operator asks of servers, each at its admin listener: how many clients it has, which configuration counts, and
//! to let clients go.
//!
//! A port, so that looks can be tested without servers. Every question has a deadline; who says nothing has said nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::names::ports;

/// What one server may take: it is near, and says what it knows.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// How far a server's drain is, as it says it (`server/src/drain.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Drain {
    /// It has begun.
    pub(crate) draining: bool,
    /// Sessions that are open.
    pub(crate) sessions: usize,
    /// It has ended.
    pub(crate) done: bool,
}

/// Which configuration counts on a server, as it says it (`server/src/reload/report.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) config: LoadedConfig,
    /// Other files that it reads again.
    pub(crate) files: Vec<LoadedFile>,
}

/// The configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct LoadedConfig {
    /// The hash of the file that counts.
    pub(crate) hash: String,
    /// Why the file does not count as it is now.
    pub(crate) problem: Option<String>,
}

/// Another file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct LoadedFile {
    pub(crate) name: String,
    pub(crate) problem: Option<String>,
}

/// A server has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot reach the admin listener at {address}")]
    Connect {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("no answer from the admin listener at {address} within {} seconds", PATIENCE.as_secs())]
    NoAnswer { address: SocketAddr },
    #[error("ask the admin listener at {address}")]
    Ask {
        address: SocketAddr,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the admin listener at {address} answers {status}")]
    Status {
        address: SocketAddr,
        status: http::StatusCode,
    },
    #[error("the answer of the admin listener at {address} is not understood")]
    Understand {
        address: SocketAddr,
        source: serde_json::Error,
    },
}

/// Speaks to servers.
pub(crate) trait Servers: Send + Sync {
    /// How far the drain of the server at this address is.
    fn look(&self, pod: IpAddr) -> BoxFuture<'_, Result<Drain, Error>>;
    /// Tells it to let its clients go; one that does so already goes on.
    fn drain(&self, pod: IpAddr) -> BoxFuture<'_, Result<Drain, Error>>;
    /// Which configuration counts there.
    fn loaded(&self, pod: IpAddr) -> BoxFuture<'_, Result<Loaded, Error>>;
}

/// The admin listeners of pods, all at this port.
pub(crate) struct AdminListeners(pub(crate) u16);

impl Default for AdminListeners {
    fn default() -> Self {
        Self(u16::try_from(ports::ADMIN).expect("a port"))
    }
}

impl Servers for AdminListeners {
    fn look(&self, pod: IpAddr) -> BoxFuture<'_, Result<Drain, Error>> {
        Box::pin(read(SocketAddr::new(pod, self.0), Method::GET, "/drain"))
    }

    fn drain(&self, pod: IpAddr) -> BoxFuture<'_, Result<Drain, Error>> {
        Box::pin(read(SocketAddr::new(pod, self.0), Method::POST, "/drain"))
    }

    fn loaded(&self, pod: IpAddr) -> BoxFuture<'_, Result<Loaded, Error>> {
        Box::pin(read(SocketAddr::new(pod, self.0), Method::GET, "/config"))
    }
}

async fn read<T: DeserializeOwned>(
    address: SocketAddr,
    method: Method,
    path: &'static str,
) -> Result<T, Error> {
    let (status, body) = ask(address, method, path).await?;
    if !status.is_success() {
        return Err(Error::Status { address, status });
    }
    serde_json::from_slice(&body).map_err(|source| Error::Understand { address, source })
}

/// Status and body of one answer.
pub(crate) async fn ask(
    address: SocketAddr,
    method: Method,
    path: &'static str,
) -> Result<(http::StatusCode, Bytes), Error> {
    let asked = timeout(PATIENCE, exchange(address, method, path)).await;
    asked.unwrap_or(Err(Error::NoAnswer { address }))
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &'static str,
) -> Result<(http::StatusCode, Bytes), Error> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| Error::Connect { address, source })?;
    let broken = |source| Error::Ask { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
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
    answer.map_err(broken)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn serving(routes: Router) -> AdminListeners {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        AdminListeners(port)
    }

    #[tokio::test]
    async fn a_get_looks_and_a_post_drains() {
        // As the server writes it (`server/src/http/drain.rs`).
        let routes =
            get(async || r#"{"draining":false,"sessions":7,"done":false}"#).post(async || {
                (
                    StatusCode::ACCEPTED,
                    r#"{"draining":true,"sessions":7,"done":false}"#,
                )
            });
        let servers = serving(Router::new().route("/drain", routes)).await;
        let state = |draining| Drain {
            draining,
            sessions: 7,
            done: false,
        };
        assert_eq!(servers.look(HERE).await.unwrap(), state(false));
        assert_eq!(servers.drain(HERE).await.unwrap(), state(true));
    }

    #[tokio::test]
    async fn a_server_says_which_configuration_counts() {
        // As the server writes it (`server/src/reload/report.rs`).
        let answer = r#"{"config":{"file":"/etc/chatcluster/config/server.yaml","hash":"0123456789abcdef",
            "atNextStart":[]},"files":[{"name":"keys","problem":"auth.jwt.keyFile: it is broken"}]}"#;
        let servers = serving(Router::new().route("/config", get(async move || answer))).await;
        let loaded = servers.loaded(HERE).await.unwrap();
        assert_eq!(loaded.config.hash, "0123456789abcdef");
        assert_eq!(loaded.config.problem, None);
        let keys = &loaded.files[0];
        assert_eq!((keys.name.as_str(), keys.problem.is_some()), ("keys", true));
    }

    #[tokio::test]
    async fn what_is_no_chat_server_is_not_taken_for_a_drained_one() {
        let other = serving(Router::new()).await;
        assert!(matches!(other.look(HERE).await, Err(Error::Status { .. })));
        let hello = serving(Router::new().route("/drain", get(async || "hello"))).await;
        assert!(matches!(
            hello.look(HERE).await,
            Err(Error::Understand { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_given_up() {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = tokio::spawn(async move {
            let accepted = listener.accept().await;
            std::future::pending::<()>().await;
            drop(accepted);
        });
        let asked = AdminListeners(port).drain(HERE).await;
        assert!(matches!(asked, Err(Error::NoAnswer { .. })), "{asked:?}");
        silent.abort();
    }
}
