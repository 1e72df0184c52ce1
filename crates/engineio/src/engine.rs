//! The engine (stub).
use crate::{Accept, CloseReason, Config, ConfigError, Counters, EngineService, Refusal, Session};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// An Engine.IO server. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    counters: Arc<Counters>,
}

impl Engine {
    /// Makes an engine. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(config: Config, accept: Arc<dyn Accept>) -> Result<Self, ConfigError> {
        config.check()?;
        drop(accept);
        Ok(Self { counters: Arc::default() })
    }
    /// Answers one HTTP request.
    pub async fn handle<B: hyper::body::Body>(&self, request: Request<B>, remote: SocketAddr) -> Response<Full<Bytes>> {
        drop((request, remote));
        Response::default()
    }
    /// The engine as a tower service.
    #[must_use]
    pub fn service(&self) -> EngineService {
        EngineService::new(self.clone())
    }
    /// All open sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        Vec::new()
    }
    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        0
    }
    /// From now on every handshake is refused with this.
    pub fn refuse_handshakes(&self, refusal: Refusal) {
        drop(refusal);
    }
    /// What the engine counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
    /// Closes all sessions.
    pub async fn close(&self, reason: CloseReason, deadline: Duration) {
        let _ = (reason, deadline);
    }
}
