//! The file as it is written: sections, fields, and the one place where defaults stand.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{ApiSection, AuthSection, DurationText, LogLevel, NatsSection, Nodes, RelaySection};

/// The server's configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address of the first node; node `i` listens on this port + `i`. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Address of metrics and probes, never to be exposed to clients.
    pub admin_listen: SocketAddr,
    /// Nodes in this process: 1 to 64, or `auto` for one per core.
    pub nodes: Nodes,
    /// Folder of the message history, made if absent.
    pub data_dir: PathBuf,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Connections: heartbeats, sizes, transports.
    pub engine: EngineSection,
    /// Which pages of other origins may connect.
    pub cors: CorsSection,
    /// Connection state recovery.
    pub recovery: RecoverySection,
    /// Who may connect.
    pub auth: AuthSection,
    /// The stored messages.
    pub history: HistorySection,
    /// What one client may take.
    pub limits: LimitsSection,
    /// How the server ends.
    pub drain: DrainSection,
    /// The NATS cluster that servers share.
    pub nats: NatsSection,
    /// HTTP for backends.
    pub api: ApiSection,
    /// How servers of that cluster bring each other requests.
    pub relay: RelaySection,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 3000)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            nodes: Nodes::Count(1),
            data_dir: PathBuf::from("data"),
            log_level: LogLevel::Info,
            engine: EngineSection::default(),
            cors: CorsSection::default(),
            recovery: RecoverySection::default(),
            auth: AuthSection::default(),
            history: HistorySection::default(),
            limits: LimitsSection::default(),
            drain: DrainSection::default(),
            nats: NatsSection::default(),
            api: ApiSection::default(),
            relay: RelaySection::default(),
        }
    }
}

/// Connections: heartbeats, sizes, transports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EngineSection {
    /// Time between two pings.
    pub ping_interval: DurationText,
    /// Time within which a ping must be answered.
    pub ping_timeout: DurationText,
    /// Time within which an upgrade to WebSocket must be finished.
    pub upgrade_timeout: DurationText,
    /// Time within which a connection must join a namespace.
    pub connect_timeout: DurationText,
    /// Largest message that a client may send.
    pub max_payload_bytes: u64,
    /// Bytes that may wait for one client; beyond, it is disconnected into recovery.
    pub max_send_queue_bytes: u64,
    /// Transports that are offered.
    pub transports: Vec<Transport>,
}

impl Default for EngineSection {
    fn default() -> Self {
        Self {
            ping_interval: DurationText::seconds(25),
            ping_timeout: DurationText::seconds(20),
            upgrade_timeout: DurationText::seconds(10),
            connect_timeout: DurationText::seconds(45),
            max_payload_bytes: 1_000_000,
            max_send_queue_bytes: 4 << 20,
            transports: vec![Transport::Polling, Transport::Websocket],
        }
    }
}

/// Which pages of other origins may connect. Without origins, none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CorsSection {
    /// Origins such as `https://chat.example.com`, or the single entry `*` for all.
    pub origins: Vec<String>,
    /// Whether browsers may send cookies along.
    pub credentials: bool,
}

/// Connection state recovery: rooms and missed events after a short absence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RecoverySection {
    /// Whether sessions are recovered at all.
    pub enabled: bool,
    /// How long a client may stay away.
    pub window: DurationText,
    /// Bytes of recent events kept in memory.
    pub memory_window_bytes: u64,
    /// Most events of one replay; a client that missed more is not recovered.
    pub max_replay_events: u64,
    /// Most bytes of one replay; a client that missed more is not recovered.
    pub max_replay_bytes: u64,
}

impl Default for RecoverySection {
    fn default() -> Self {
        Self {
            enabled: true,
            window: DurationText::seconds(120),
            memory_window_bytes: 64 << 20,
            max_replay_events: 100_000,
            max_replay_bytes: 16 << 20,
        }
    }
}

/// The stored messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HistorySection {
    /// Age at which messages are deleted; `0` keeps them for ever.
    pub retention: DurationText,
    /// Most missed messages that are sent to a client that could not be recovered.
    pub replay_limit: u64,
    /// How many of the newest messages a new client, or one that missed too many, is sent.
    pub replay_newest: u64,
}

impl Default for HistorySection {
    fn default() -> Self {
        Self {
            retention: DurationText::seconds(30 * 86_400),
            replay_limit: 10_000,
            replay_newest: 200,
        }
    }
}

/// What clients may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connections in all.
    pub connections: u64,
    /// Connections from one address (IPv6: one /64 network); `0` sets no limit, as is needed
    /// behind a proxy, which shows the server one address for everyone.
    pub connections_per_address: u64,
    /// Events per second from one socket, in the long run.
    pub events_per_second: u64,
    /// Events from one socket at once.
    pub events_burst: u64,
    /// Rooms that one socket may be in.
    pub rooms_per_socket: u64,
    /// Unicode characters of one message.
    pub message_characters: u64,
    /// Events of one socket that may wait for their handler; then the socket is not read.
    pub inbox_events: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 4096,
            events_per_second: 50,
            events_burst: 200,
            rooms_per_socket: 50,
            message_characters: 4000,
            inbox_events: 128,
        }
    }
}

/// How the server ends after SIGTERM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DrainSection {
    /// How long handshakes are still served, because load balancers learn late. Kubernetes needs 3s.
    pub settle: DurationText,
    /// Time within which the server ends, whatever still runs.
    pub deadline: DurationText,
    /// Clients disconnected per second, so that they do not come back all at once.
    pub rate: u64,
}

impl Default for DrainSection {
    fn default() -> Self {
        Self {
            settle: DurationText::seconds(0),
            deadline: DurationText::seconds(30),
            rate: 500,
        }
    }
}

/// Ways to carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    Websocket,
}
