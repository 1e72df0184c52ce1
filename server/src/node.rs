//! One node: its own threads, its own port, its part of the chat.
//!
//! A node's sockets live on its runtime; nodes meet only in the cluster. Several nodes in one process use all cores, each
//! as the tutorial's worker does.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use chatcluster_chat_api as api;
use chatcluster_engineio::{Refusal, RemoteAddr, serve};
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::{Config, Recovery, SocketIo, engineio};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::chat::Chat;
use crate::codes::Code;
use crate::limits::Connections;

/// How long a client that was refused for want of room should wait.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);
/// Connections beyond those of the sessions: for the page, and for clients that are told why they are refused.
const SPARE_CONNECTIONS: usize = 1024;

/// A node that serves.
pub struct Node {
    /// Its Socket.IO server.
    pub io: SocketIo,
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What a node is made of.
pub struct Parts {
    /// Its place among the nodes.
    pub index: u16,
    /// Bound before anything else starts, so that a port in use is found out at once.
    pub listener: std::net::TcpListener,
    /// The chat on this node.
    pub chat: Chat,
    /// The cluster as this node sees it.
    pub cluster: Arc<dyn Cluster>,
    /// The page and the probes.
    pub routes: Router,
    /// Connections of all nodes.
    pub connections: Connections,
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
        let (listener, io) = {
            let _inside = runtime.enter();
            parts.listener.set_nonblocking(true)?;
            (
                TcpListener::from_std(parts.listener)?,
                socket_io(&parts.chat, parts.cluster, &parts.connections, config)?,
            )
        };
        parts.chat.install(&io);
        let (stop, stopped) = watch::channel(false);
        let routes = with_sockets(parts.routes, &io);
        let serving = serve_until(listener, routes, http_connections(config), stopped);
        let thread = std::thread::Builder::new()
            .name(format!("node-{}", parts.index))
            .spawn(move || runtime.block_on(serving))?;
        Ok(Self {
            io,
            address,
            stop,
            thread,
        })
    }

    /// Stops accepting connections; sessions must have been closed before.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the node's threads. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a node's thread panicked");
        }
    }
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

fn socket_io(
    chat: &Chat,
    cluster: Arc<dyn Cluster>,
    connections: &Connections,
    config: &api::Config,
) -> anyhow::Result<SocketIo> {
    let (door, counter) = (connections.clone(), connections.clone());
    let refusing = chat.clone();
    let io = SocketIo::builder()
        .config(socket_config(config))
        .cluster(cluster)
        .with_state(chat.clone())
        .admit(
            move |handshake| match door.admit(handshake.remote_addr().ip()) {
                Ok(_looked) => Ok(()),
                Err(code) => {
                    refusing.count_refusal(code);
                    Err(refusal(code))
                }
            },
        )
        .track(move |handshake| {
            Box::new(counter.admit(handshake.remote_addr().ip()).ok()) as Box<dyn Any + Send + Sync>
        })
        .build()?;
    Ok(io)
}

/// A handshake that is refused with one of the protocol's codes.
#[must_use]
pub fn refusal(code: Code) -> Refusal {
    Refusal::with_status(code.http_status(), code.message()).retry_after(RETRY_AFTER)
}

fn socket_config(config: &api::Config) -> Config {
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
fn with_sockets(routes: Router, io: &SocketIo) -> Router {
    routes
        .route_service("/socket.io/", io.service())
        .route_service("/socket.io", io.service())
}

/// The most connections of a node that are no WebSocket. A long-polling client has a GET waiting and a POST under way.
fn http_connections(config: &api::Config) -> usize {
    let polling = config.limits.connections.saturating_mul(2);
    polling.saturating_add(SPARE_CONNECTIONS)
}

async fn serve_until(
    listener: TcpListener,
    routes: Router,
    max_connections: usize,
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
