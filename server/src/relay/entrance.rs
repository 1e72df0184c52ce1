//! The way in: a listener of its own, on which requests of other servers go to the engine and to nobody else.
//!
//! One hop: what is unknown to this engine is answered so. Handshakes do not come this way, so that nobody can borrow
//! another's address for the limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use chatcluster_engineio::{RemoteAddr, SidTag, serve};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::{Service as _, service_fn};

use super::{Relay, asking, headers};
use crate::node::{self, Entrance};

/// How long another server's connection may lie idle.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// A client's head fits into 16 KiB; the hop's own headers come on top.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// How long requests may go on at the end.
const GRACE: Duration = Duration::from_secs(2);

impl Relay {
    /// Serves the entrance until the server stops. What is carried to other servers ends with it.
    pub async fn serve(self, entrance: Entrance, mut stopped: watch::Receiver<bool>) {
        let stopped = async move { stopped.wait_for(|stop| *stop).await.map(drop) };
        let options = serve::Options {
            header_read_timeout: IDLE,
            max_buf_size: MAX_HEAD_BYTES,
            max_connections: Some(Arc::new(self.0.bounds.connections.into())),
            grace: GRACE,
            ..serve::Options::default()
        };
        let listener = self.0.listener.lock().take().map(TcpListener::from_std);
        let relay = self.clone();
        let service = service_fn(move |request| {
            let (relay, entrance) = (relay.clone(), entrance.clone());
            async move { Ok::<_, Infallible>(relay.enter(request, &entrance).await) }
        });
        match listener {
            Some(Ok(listener)) => serve::serve(listener, service, options, stopped).await,
            Some(Err(error)) => tracing::error!(%error, "the relay's entrance cannot be served"),
            None => tracing::error!("the relay's entrance is served already"),
        }
        self.0.carried.end_all();
    }

    async fn enter(&self, mut request: Request<Incoming>, entrance: &Entrance) -> Response {
        let token = request.headers_mut().remove(headers::TOKEN);
        let joined = self.0.joined.get();
        let is_member =
            joined.is_some_and(|joined| joined.secret.admits(self.0.tag, token.as_ref()));
        if is_member && request.uri().path() == asking::PATH {
            return if self.reads_the_log() {
                StatusCode::NO_CONTENT.into_response()
            } else {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            };
        }
        let is_let_in = is_member && SidTag::of_request(request.uri()).is_some();
        self.0.measures.arrived(is_let_in);
        if !is_let_in {
            return refused();
        }
        let client = request.headers_mut().remove(headers::CLIENT);
        let client = client.and_then(|client| client.to_str().ok()?.parse().ok());
        if let Some(client) = client {
            request.extensions_mut().insert(RemoteAddr(client));
        }
        match entrance.io() {
            Some(io) => match io.service().call(request).await {
                Ok(answer) => answer.map(Body::new),
                Err(never) => match never {},
            },
            None => node::not_yet(entrance.why_not()),
        }
    }
}

/// The header tells it from a refusal of the engine's.
fn refused() -> Response {
    let mark = [(headers::TOKEN, HeaderValue::from_static("refused"))];
    (StatusCode::FORBIDDEN, mark).into_response()
}
