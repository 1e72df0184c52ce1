//! The door for backends: HTTP in any language, on a listener of its own, for those who have a token.
//!
//! What can be asked is `crate::chat::backend`'s; here is how: paths and bodies, who may, bounds, answers
//! (`docs/http-api.md`). The API speaks through the node that it belongs to, and so reaches the whole cluster.

mod answer;
mod description;
mod emit;
mod gate;
mod input;
mod messages;
mod sockets;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use chatcluster_chat_api as api;
use chatcluster_engineio::serve;
use chatcluster_socketio::Namespace;
use tokio::sync::Semaphore;

use crate::chat::Chat;
use crate::codes::{Code, Refusal};
use crate::files::Watched;
use crate::metrics::Metrics;
use crate::node::Entrance;

pub(crate) use tokens::SharedTokens;

/// Requests under way at a time; one more is refused.
const UNDER_WAY: usize = 256;
/// Connections, with or without a request under way.
const CONNECTIONS: usize = 1024;
/// Time for a request from its head to its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long requests under way may go on when the server ends.
const GRACE: Duration = Duration::from_secs(2);
/// The namespace of the chat, the only one there is.
const CHAT: &str = "/";

/// The API before its node is there: bound, and with its tokens read.
pub struct Backend {
    listener: std::net::TcpListener,
    tokens: SharedTokens,
    token_file: Option<Watched>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
}

/// What a request may take.
#[derive(Clone, Copy)]
struct Bounds {
    body_bytes: usize,
    under_way: usize,
    deadline: Duration,
}

/// What handlers share.
#[derive(Clone)]
struct Door(Arc<Inner>);

struct Inner {
    chat: Chat,
    entrance: Entrance,
    tokens: SharedTokens,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    under_way: Semaphore,
}

impl Backend {
    /// Reads the tokens and takes the address, if there is to be an API.
    ///
    /// # Errors
    /// The file of tokens cannot be used, or the address.
    pub fn open(config: &api::Config, metrics: &Arc<Metrics>) -> anyhow::Result<Option<Self>> {
        let Some(section) = &config.api else {
            return Ok(None);
        };
        let (tokens, token_file) = SharedTokens::load(&section.token_file)?;
        let listener = std::net::TcpListener::bind(section.listen)
            .with_context(|| format!("api.listen: cannot listen on {}", section.listen))?;
        listener.set_nonblocking(true)?;
        Ok(Some(Self {
            listener,
            tokens,
            token_file: Some(token_file),
            metrics: metrics.clone(),
            bounds: Bounds {
                body_bytes: config.engine.max_payload_bytes,
                under_way: UNDER_WAY,
                deadline: DEADLINE,
            },
        }))
    }

    /// The file of the tokens, for the one who watches it, and where another content of it goes.
    pub(crate) fn take_token_file(&mut self) -> Option<(Watched, SharedTokens)> {
        Some((self.token_file.take()?, self.tokens.clone()))
    }

    /// Serves until `stopped`. Called inside the runtime of the node that `chat` and `entrance` belong to.
    ///
    /// # Errors
    /// The listener cannot be used by the runtime.
    pub fn serve(
        self,
        chat: Chat,
        entrance: Entrance,
        stopped: impl Future,
    ) -> std::io::Result<impl Future<Output = ()>> {
        tracing::info!(
            "the API for backends on http://{}",
            self.listener.local_addr()?
        );
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let door = Door::new(chat, entrance, (self.tokens, self.metrics), self.bounds);
        let options = serve::Options {
            max_connections: Some(Arc::new(CONNECTIONS.into())),
            grace: GRACE,
            ..serve::Options::default()
        };
        Ok(async move { serve::serve(listener, router(door), options, stopped).await })
    }
}

impl Door {
    fn new(
        chat: Chat,
        entrance: Entrance,
        (tokens, metrics): (SharedTokens, Arc<Metrics>),
        bounds: Bounds,
    ) -> Self {
        Self(Arc::new(Inner {
            chat,
            entrance,
            tokens,
            metrics,
            bounds,
            under_way: Semaphore::new(bounds.under_way),
        }))
    }

    /// The namespace of this name, from when clients are let in until the server has left the cluster.
    fn namespace(&self, path: &str) -> Result<Arc<Namespace>, Refusal> {
        let entrance = &self.0.entrance;
        let io = entrance.io().ok_or_else(|| entrance.why_not())?;
        if !self.0.chat.is_up_to_date() {
            return Err(Code::Starting.into());
        }
        if path != CHAT {
            return Err(Refusal::of(Code::NoSuchPath, "ns"));
        }
        // At the end of its drain the server has left the cluster.
        io.of(path).ok_or(Code::Draining.into())
    }
}

/// The API. A place is named by two segments after the namespace, so that no name of a room or user, not even `..`, which
/// HTTP clients resolve, turns a path into one for somebody else.
fn router(door: Door) -> Router {
    let bounds = door.0.bounds;
    let chat = door.0.chat.clone();
    let describe = async move || {
        let text = description::text(chat.settings().limits.message_characters);
        ([(CONTENT_TYPE, "application/json")], text)
    };
    let asked = Router::new()
        .route(
            "/api/v1/namespaces/{ns}/lobby/messages",
            post(messages::in_lobby),
        )
        .route(
            "/api/v1/namespaces/{ns}/rooms/{room}/messages",
            post(messages::in_room),
        )
        .route("/api/v1/namespaces/{ns}/lobby/emit", post(emit::to_lobby))
        .route(
            "/api/v1/namespaces/{ns}/rooms/{room}/emit",
            post(emit::to_room),
        )
        .route(
            "/api/v1/namespaces/{ns}/users/{user}/emit",
            post(emit::to_user),
        )
        .route(
            "/api/v1/namespaces/{ns}/lobby/sockets",
            get(sockets::in_lobby),
        )
        .route(
            "/api/v1/namespaces/{ns}/rooms/{room}/sockets",
            get(sockets::in_room).delete(sockets::disconnect_room),
        )
        .route(
            "/api/v1/namespaces/{ns}/users/{user}/sockets",
            get(sockets::of_user).delete(sockets::disconnect_user),
        )
        .route(
            "/api/v1/namespaces/{ns}/sockets/{socket}",
            delete(sockets::disconnect_socket),
        )
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(DefaultBodyLimit::max(bounds.body_bytes))
        .layer(middleware::from_fn_with_state(door.clone(), gate::admit))
        .with_state(door.clone());
    Router::new()
        .route(description::PATH, get(describe))
        .method_not_allowed_fallback(answer::no_such_method)
        .merge(asked)
        .layer(middleware::from_fn_with_state(door, gate::count))
}

#[cfg(test)]
mod tests;
