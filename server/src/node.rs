//! One node: its own threads, its own port, its part of the chat.
//!
//! A node's sockets live on its runtime; nodes meet only in the cluster. Several nodes in one process use all cores, each
//! as the tutorial's worker does.

mod entrance;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Json, Router};
use chatcluster_chat_api as api;
use chatcluster_engineio::{Refusal, RemoteAddr, SidTag, serve};
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::{Config, Recovery, SocketIo, engineio};
use futures_util::future::OptionFuture;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tower::Service as _;

use crate::backend::Backend;
use crate::chat::Chat;
use crate::codes::Code;
use crate::hand_over;
use crate::live::Live;
use crate::membership::Membership;
use crate::relay::{Passed, Relay};

pub use entrance::Entrance;

/// How long a client that was refused for want of room should wait.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);
/// Connections beyond those of the sessions: for the page, and for clients that are told why they are refused.
const SPARE_CONNECTIONS: usize = 1024;

/// A node that serves.
pub struct Node {
    /// Where it listens.
    pub address: SocketAddr,
    entrance: Entrance,
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// How a node comes to its cluster.
pub enum Place {
    /// Among the nodes of this process.
    Here(Arc<dyn Cluster>),
    /// On NATS, which may take a while: until then clients are told to come back.
    OnNats(Arc<Membership>),
}

impl Place {
    fn relay(&self) -> Option<Relay> {
        match self {
            Self::Here(_) => None,
            Self::OnNats(membership) => membership.relay().cloned(),
        }
    }
}

/// What a node is made of.
pub struct Parts {
    /// Its place among the nodes.
    pub index: u16,
    /// Bound before anything else starts, so that a port in use is found out at once.
    pub listener: std::net::TcpListener,
    /// The chat on this node.
    pub chat: Chat,
    /// How it comes to its cluster.
    pub place: Place,
    /// The page and the probes.
    pub routes: Router,
    /// The API for backends, if it is this node's.
    pub backend: Option<Backend>,
    /// What may change while it serves.
    pub live: Arc<Live>,
    /// Threads that serve it.
    pub threads: usize,
}

impl Node {
    /// Starts a node on threads of its own.
    ///
    /// # Errors
    /// When the runtime, the listener or the transport cannot be set up.
    pub fn start(parts: Parts, config: &api::Config) -> anyhow::Result<Self> {
        let runtime = runtime(&parts)?;
        let address = parts.listener.local_addr()?;
        parts.listener.set_nonblocking(true)?;
        let (stop, stopped) = watch::channel(false);
        let entrance = Entrance::default();
        let relay = parts.place.relay();
        let door = Door {
            chat: parts.chat,
            live: Arc::clone(&parts.live),
            config: config.clone(),
            entrance: entrance.clone(),
            sid_tag: relay.as_ref().map(Relay::tag),
        };
        let inside = runtime.enter();
        let listener = TcpListener::from_std(parts.listener)?;
        let routes = with_sockets(parts.routes, entrance.clone(), relay.clone());
        let serving = serve_until(
            listener,
            routes,
            parts.live.http_connections(),
            stopped.clone(),
        );
        let backend = backend(parts.backend, &door, stopped.clone())?;
        let entering = relay.map(|relay| relay.serve(entrance.clone(), stopped.clone()));
        let serving = async { tokio::join!(serving, backend, OptionFuture::from(entering)).0 };
        let membership = match parts.place {
            Place::Here(cluster) => {
                entrance.open(door.build(cluster)?);
                None
            }
            Place::OnNats(membership) => Some(membership),
        };
        drop(inside);
        let thread = std::thread::Builder::new()
            .name(format!("node-{}", parts.index))
            .spawn(move || match membership {
                None => {
                    runtime.block_on(serving);
                    Ok(())
                }
                Some(membership) => {
                    runtime.block_on(serve_member(membership, door, serving, stopped))
                }
            })?;
        Ok(Self {
            address,
            entrance,
            stop,
            thread,
        })
    }

    /// Its Socket.IO server; `None` until clients are let in.
    #[must_use]
    pub fn io(&self) -> Option<&SocketIo> {
        self.entrance.io()
    }

    /// The same, for those who come back to it.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops accepting connections; sessions must have been closed before.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the node's threads. Blocks.
    ///
    /// # Errors
    /// Why it ended by itself.
    pub fn join(self) -> anyhow::Result<()> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("a node's thread panicked")))
    }
}

/// Serves while the cluster is joined, and leaves it last.
async fn serve_member(
    membership: Arc<Membership>,
    door: Door,
    serving: impl Future<Output = ()>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let joining = async {
        let cluster = membership.join().await?;
        let io = door.build(Arc::new(cluster.clone()))?;
        for namespace in io.namespaces() {
            namespace.opened().await;
        }
        membership.report_progress(&cluster).await;
        if !door.entrance.open(io.clone()) {
            tracing::info!(
                "the cluster was joined too late: this server is draining and lets nobody in"
            );
            return Ok(());
        }
        membership.serve();
        let grace = door.config.nats.as_ref();
        let grace = grace.and_then(|nats| nats.hand_over_grace);
        // Clients are served by now: they are looked after until the end.
        tokio::select! {
            () = hand_over::run(membership.clone(), io, grace, &door.live) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        anyhow::Ok(())
    };
    tokio::pin!(serving);
    let outcome = tokio::select! {
        () = &mut serving => Ok(()),
        joined = joining => match joined {
            Ok(()) => {
                serving.await;
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    membership.leave().await;
    outcome
}

/// What makes a node's Socket.IO server, once there is a cluster.
struct Door {
    chat: Chat,
    live: Arc<Live>,
    config: api::Config,
    entrance: Entrance,
    sid_tag: Option<SidTag>,
}

fn runtime(parts: &Parts) -> std::io::Result<Runtime> {
    let mut builder = if parts.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder
        .worker_threads(parts.threads)
        .thread_name(format!("node-{}", parts.index))
        .enable_all()
        .build()
}

impl Door {
    /// Must be called inside the node's runtime.
    fn build(&self, cluster: Arc<dyn Cluster>) -> anyhow::Result<SocketIo> {
        let (door, counter) = (self.live.connections(), self.live.connections());
        let refusing = self.chat.clone();
        let mut sockets = socket_config(&self.config);
        sockets.engine.sid_tag = self.sid_tag;
        let io = SocketIo::builder()
            .config(sockets)
            .cluster(cluster)
            .with_state(self.chat.clone())
            .admit(move |handshake| {
                let admitted = if !refusing.is_up_to_date() {
                    Err(Code::Starting)
                } else if refusing.is_handed_over() {
                    Err(Code::Draining)
                } else {
                    door.admit(handshake.remote_addr().ip()).map(drop)
                };
                admitted.map_err(|code| {
                    refusing.count_refusal(code);
                    refusal(code)
                })
            })
            .track(move |handshake| {
                Box::new(counter.admit(handshake.remote_addr().ip()).ok())
                    as Box<dyn Any + Send + Sync>
            })
            .build()?;
        self.chat.install(&io);
        Ok(io)
    }
}

/// A handshake that is refused with one of the protocol's codes.
#[must_use]
pub fn refusal(code: Code) -> Refusal {
    Refusal::with_status(code.http_status(), code.message()).retry_after(RETRY_AFTER)
}

/// The socket layer's settings.
#[must_use]
pub fn socket_config(config: &api::Config) -> Config {
    let engine = &config.engine;
    let cors = config.cors.as_ref().map(|cors| engineio::Cors {
        origins: match &cors.origins {
            api::Origins::Any if cors.credentials => engineio::Origins::Mirror,
            api::Origins::Any => engineio::Origins::Any,
            api::Origins::List(origins) => engineio::Origins::List(origins.clone()),
        },
        credentials: cors.credentials,
        ..engineio::Cors::default()
    });
    Config {
        engine: engineio::Config {
            path: "/socket.io/".to_owned(),
            ping_interval: engine.ping_interval,
            ping_timeout: engine.ping_timeout,
            upgrade_timeout: engine.upgrade_timeout,
            max_payload: engine.max_payload_bytes,
            max_send_queue: engine.max_send_queue_bytes,
            transports: engineio::Transports {
                polling: engine.has_polling,
                websocket: engine.has_websocket,
            },
            cors,
            ..engineio::Config::default()
        },
        connect_timeout: engine.connect_timeout,
        recovery: config.recovery.as_ref().map(|recovery| Recovery {
            window: recovery.window,
            memory_window_bytes: recovery.memory_window_bytes,
            max_replay_events: recovery.max_replay_events,
            max_replay_bytes: recovery.max_replay_bytes,
        }),
        inbox_events: config.limits.inbox_events,
        ..Config::default()
    }
}

/// The transport's path beside the page's; the client bundle lies under the same path, as exact routes.
fn with_sockets(routes: Router, entrance: Entrance, relay: Option<Relay>) -> Router {
    let handle = async move |request: Request| {
        let passed = match relay {
            Some(relay) => relay.pass(request).await,
            None => Passed::Here(request),
        };
        match (passed, entrance.io()) {
            (Passed::Elsewhere(answer), _) => answer,
            (Passed::Here(request), Some(io)) => match io.service().call(request).await {
                Ok(answer) => answer.into_response(),
                Err(never) => match never {},
            },
            (Passed::Here(_), None) => not_yet(entrance.why_not()),
        }
    };
    routes
        .route("/socket.io/", any(handle.clone()))
        .route("/socket.io", any(handle))
}

/// What clients are told until the cluster is joined, or because it is not any more, in the words of a refused handshake.
pub(crate) fn not_yet(code: Code) -> Response {
    let refusal = refusal(code);
    let headers: HeaderMap = refusal.headers.into_iter().collect();
    let body = serde_json::json!({ "code": 4, "message": refusal.message });
    (refusal.status, headers, Json(body)).into_response()
}

/// The most connections of a node that are no WebSocket. A long-polling client has a GET waiting and a POST under way.
pub(crate) fn http_connections(limits: &api::Limits) -> usize {
    let polling = limits.connections.saturating_mul(2);
    polling.saturating_add(SPARE_CONNECTIONS)
}

/// The API beside the sockets, if it is this node's.
fn backend(
    backend: Option<Backend>,
    door: &Door,
    mut stopped: watch::Receiver<bool>,
) -> std::io::Result<impl Future<Output = ()> + use<>> {
    let stopped = async move { stopped.wait_for(|stop| *stop).await.map(drop) };
    let serving = backend.map(|it| it.serve(door.chat.clone(), door.entrance.clone(), stopped));
    let serving = serving.transpose()?;
    Ok(async {
        if let Some(serving) = serving {
            serving.await;
        }
    })
}

async fn serve_until(
    listener: TcpListener,
    routes: Router,
    max_connections: Arc<AtomicUsize>,
    mut stopped: watch::Receiver<bool>,
) {
    let stopped = async move { stopped.wait_for(|stop| *stop).await.map(drop) };
    let options = serve::Options {
        max_connections: Some(max_connections),
        grace: std::time::Duration::from_secs(2),
        ..serve::Options::default()
    };
    serve::serve(listener, routes, options, stopped).await;
}

/// Keeps the import honest: requests carry their peer's address as [`RemoteAddr`], put there by `serve`.
const _: fn(SocketAddr) -> RemoteAddr = RemoteAddr;
