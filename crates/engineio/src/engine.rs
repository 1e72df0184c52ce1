//! The engine: what all sessions share, how sessions open, and how all of them end.

mod heart;
mod routing;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::accept::{Accept, Refusal};
use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::config::{Config, ConfigError};
use crate::counters::{Counter, Counters};
use crate::frame::Frame;
use crate::handshake::Handshake;
use crate::registry::{Farewells, Live, Registry};
use crate::service::EngineService;
use crate::session::{Session, Spans, TransportKind};
use crate::sid_tag::SidTag;
use crate::wheel::{Task, Wheel};

/// An Engine.IO server. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    /// The wheel's task, which also ends by itself when the engine and all its sessions are gone.
    heart: AbortHandle,
}

/// What all sessions of an engine share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    accept: Arc<dyn Accept>,
    pub(crate) registry: Registry,
    pub(crate) farewells: Farewells,
    pub(crate) wheel: Wheel,
    pub(crate) clock: Clock,
    pub(crate) spans: Spans,
    pub(crate) counters: Counters,
    pub(crate) live: Live,
    /// Where tasks are spawned from threads that belong to no runtime.
    pub(crate) runtime: Handle,
    refusal: Mutex<Option<Refusal>>,
    /// Set when the engine closes; a session that opens after that is closed at once.
    closing: OnceLock<CloseReason>,
}

impl Engine {
    /// Makes an engine. Must be called inside a tokio runtime, on which its timer and its sessions will run.
    ///
    /// # Errors
    /// A setting that cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(config: Config, accept: Arc<dyn Accept>) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Arc::new(Shared {
            wheel: Wheel::new(heart::resolution(&config)),
            spans: heart::spans(&config),
            config,
            accept,
            registry: Registry::default(),
            farewells: Farewells::default(),
            clock: Clock::start(),
            counters: Counters::default(),
            live: Live::default(),
            runtime: Handle::current(),
            refusal: Mutex::new(None),
            closing: OnceLock::new(),
        });
        let heart = tokio::spawn(heart::beat(Arc::downgrade(&shared)));
        Ok(Self {
            shared,
            heart: heart.abort_handle(),
        })
    }

    /// Answers one HTTP request: a handshake, a poll, or the upgrade to WebSocket. Anything but the engine's path is
    /// answered with 404.
    pub async fn handle<B: Body>(
        &self,
        request: Request<B>,
        remote: SocketAddr,
    ) -> Response<Full<Bytes>> {
        routing::answer(&self.shared, request, remote).await
    }

    /// The engine as a tower service.
    #[must_use]
    pub fn service(&self) -> EngineService {
        EngineService::new(self.clone())
    }

    /// All open sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared.registry.all()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.shared.registry.len()
    }

    /// From now on every handshake is refused with this; open sessions go on.
    pub fn refuse_handshakes(&self, refusal: Refusal) {
        *self.shared.refusal.lock() = Some(refusal);
    }

    /// What the engine counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Closes all sessions after what is queued for them, refuses new ones, and stops the timer. Resolves when all are
    /// gone, or at the deadline.
    pub async fn close(&self, reason: CloseReason, deadline: Duration) {
        // A second close has nothing to add; the first one's reason stands.
        let reason = *self.shared.closing.get_or_init(|| reason);
        // A little less for each, so that the last one is gone at the deadline and not just being dropped.
        let flush = deadline * 9 / 10;
        for session in self.sessions() {
            session.close_after_flush(reason, flush);
        }
        if timeout(deadline, self.shared.live.none()).await.is_err() {
            tracing::warn!("sessions were still closing at the deadline");
        }
        self.heart.abort();
    }
}

impl Shared {
    /// Opens a session. Its reader token is left with the caller.
    pub(crate) fn open(
        self: &Arc<Self>,
        handshake: Handshake,
        transport: TransportKind,
    ) -> Arc<Session> {
        let session = Session::new(Arc::clone(self), handshake, transport);
        self.live.add();
        self.counters.handshakes.increment();
        self.open_counter(transport).increment();
        if transport == TransportKind::WebSocket
            && let Err(error) = session.send(&[Frame::packet(&self.open_packet(&session))])
        {
            tracing::error!(%error, "a new session did not take its handshake packet");
        }
        self.registry.insert(&session);
        self.wheel.add(
            *session.id(),
            Task::Heartbeat,
            self.clock.now() + self.spans.interval,
        );
        session.opened(self.accept.open(&session));
        if let Some(reason) = self.closing.get() {
            session.close(*reason);
        }
        session
    }

    /// The handshake packet. Clients in the field rely on the order of its keys.
    pub(crate) fn open_packet(&self, session: &Session) -> String {
        let is_polling = session.transport() == TransportKind::Polling;
        let upgrades = if is_polling && self.config.offers_upgrade() {
            "\"websocket\""
        } else {
            ""
        };
        format!(
            "0{{\"sid\":\"{}\",\"upgrades\":[{upgrades}],\"pingInterval\":{},\"pingTimeout\":{},\"maxPayload\":{}}}",
            self.sid_text(session),
            self.config.ping_interval.as_millis(),
            self.config.ping_timeout.as_millis(),
            self.config.max_payload,
        )
    }

    /// The session's id as its client knows it.
    pub(crate) fn sid_text(&self, session: &Session) -> String {
        SidTag::write(self.config.sid_tag, session.id())
    }

    /// The number of open sessions on a transport.
    pub(crate) fn open_counter(&self, transport: TransportKind) -> &Counter {
        match transport {
            TransportKind::Polling => &self.counters.open_polling,
            TransportKind::WebSocket => &self.counters.open_websocket,
        }
    }

    /// What a handshake is refused with, if handshakes are refused.
    fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().clone()
    }
}
