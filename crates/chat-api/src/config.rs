//! The configuration that holds: semantic types, every rule of `validate` true.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{Api, Auth, LogLevel, Nats, Nodes, Relay};

/// A configuration that passed [`ServerConfig::validate`](crate::ServerConfig::validate).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address of the first node; node `i` listens on this port + `i`.
    pub listen: SocketAddr,
    /// Address of metrics and probes.
    pub admin_listen: SocketAddr,
    /// Nodes in this process.
    pub nodes: Nodes,
    /// Folder of the message history.
    pub data_dir: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Connections.
    pub engine: Engine,
    /// Pages of other origins, if any may connect.
    pub cors: Option<Cors>,
    /// Connection state recovery, if on.
    pub recovery: Option<Recovery>,
    /// Who may connect.
    pub auth: Auth,
    /// The stored messages.
    pub history: History,
    /// What clients may take.
    pub limits: Limits,
    /// How the server ends.
    pub drain: Drain,
    /// The NATS cluster that servers share, if any; then `nodes` is 1.
    pub nats: Option<Nats>,
    /// HTTP for backends, if any.
    pub api: Option<Api>,
    /// How servers of that cluster bring each other requests, if they do.
    pub relay: Option<Relay>,
}

/// Connections: heartbeats, sizes, transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Time within which a ping must be answered.
    pub ping_timeout: Duration,
    /// Time within which an upgrade must be finished.
    pub upgrade_timeout: Duration,
    /// Time within which a connection must join a namespace.
    pub connect_timeout: Duration,
    /// Largest message from a client.
    pub max_payload_bytes: usize,
    /// Bytes that may wait for one client.
    pub max_send_queue_bytes: usize,
    /// Long-polling is offered.
    pub has_polling: bool,
    /// WebSocket is offered. At least one of the two is.
    pub has_websocket: bool,
}

/// Pages of other origins that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins.
    pub origins: Origins,
    /// Whether browsers may send cookies along; never with [`Origins::Any`].
    pub credentials: bool,
}

/// Origins of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Every origin.
    Any,
    /// These, each `scheme://host` or `scheme://host:port` in lower case.
    List(Vec<String>),
}

/// Connection state recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// How long a client may stay away.
    pub window: Duration,
    /// Bytes of recent events kept in memory.
    pub memory_window_bytes: usize,
    /// Most events of one replay.
    pub max_replay_events: usize,
    /// Most bytes of one replay.
    pub max_replay_bytes: usize,
}

/// The stored messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Age at which messages are deleted; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Most missed messages sent to a client that could not be recovered.
    pub replay_limit: usize,
    /// Newest messages sent to a new client.
    pub replay_newest: usize,
}

/// What clients may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address, if limited.
    pub connections_per_address: Option<usize>,
    /// Events per second from one socket.
    pub events_per_second: u32,
    /// Events from one socket at once.
    pub events_burst: u32,
    /// Rooms that one socket may be in.
    pub rooms_per_socket: usize,
    /// Unicode characters of one message.
    pub message_characters: usize,
    /// Events of one socket that may wait.
    pub inbox_events: usize,
}

/// How the server ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long handshakes are still served.
    pub settle: Duration,
    /// Time within which the server ends; longer than `settle`.
    pub deadline: Duration,
    /// Clients disconnected per second.
    pub rate: u32,
}
