//! What a server can be told; every default is Socket.IO's unless it says otherwise.

use std::time::Duration;

/// Configuration of a [`crate::SocketIo`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The transport. Its path is `/socket.io/` here.
    pub engine: chatcluster_engineio::Config,
    /// A connection that has joined no namespace after this time is closed. Default 45 s.
    pub connect_timeout: Duration,
    /// Connection state recovery; `None` turns it off: no `pid`, no offsets.
    pub recovery: Option<Recovery>,
    /// Events of one socket that may wait for its handlers; a full inbox stops reading that socket. Default 256. So does
    /// one that holds the bytes of two messages of [`chatcluster_engineio::Config::max_payload`].
    pub inbox_events: usize,
    /// Namespaces that patterns may create; beyond it a new name is an invalid namespace. Default 1000.
    pub max_dynamic_namespaces: usize,
    /// CONNECTs that one connection may send in a minute; beyond it the connection is closed. Default 256.
    pub max_connects_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: chatcluster_engineio::Config {
                path: "/socket.io/".to_owned(),
                ..chatcluster_engineio::Config::default()
            },
            connect_timeout: Duration::from_secs(45),
            recovery: None,
            inbox_events: 256,
            max_dynamic_namespaces: 1000,
            max_connects_per_minute: 256,
        }
    }
}

impl Config {
    /// How long log entries matter: a client may stay away for the window, after having been silent as long as nobody notices
    /// (semantics 6).
    #[must_use]
    pub fn span(&self, recovery: &Recovery) -> Duration {
        recovery
            .window
            .saturating_add(self.engine.longest_silence())
            .saturating_add(Duration::from_secs(10))
    }
}

/// How the events of a namespace reach its clients. The same on all nodes of a cluster: a namespace that is logged on one and
/// ephemeral on another is two halves that do not hear each other's broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Through the namespace's log: one order for everybody, on all nodes, and who recovers gets what it missed.
    #[default]
    Logged,
    /// Past any log: this node's clients get an event at once, those of the others at most once, in the order in which this
    /// node emitted. There is neither `pid` nor offset, a client that returns is a new one, and nothing can be stored
    /// ([`crate::Broadcast::append`] is refused). For what is worth nothing a moment later: cursors, positions, levels.
    Ephemeral,
}

/// Connection state recovery.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// How long a client may stay away. Default 2 minutes.
    pub window: Duration,
    /// Bytes of log kept in memory for each namespace of a node. Default 64 MiB.
    pub memory_window_bytes: usize,
    /// A client that missed more events than this is not recovered. Default 100,000.
    pub max_replay_events: usize,
    /// A client that missed more bytes than this is not recovered. Default 16 MiB.
    pub max_replay_bytes: usize,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(120),
            memory_window_bytes: 64 << 20,
            max_replay_events: 100_000,
            max_replay_bytes: 16 << 20,
        }
    }
}
