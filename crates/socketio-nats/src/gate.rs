//! Whether this node may write to the log: only after it has looked at it since the connection was made.
//!
//! A broker can come back with an older log. What was written to that before anybody looked would stand where lost messages
//! stood, and nodes that had read those would take it for known.

use std::sync::Arc;

use chatcluster_socketio::level::Level;
use tokio::sync::watch;

use crate::ports::{Ports, Wire};

/// Open while the log that is connected to has been looked at.
#[derive(Clone)]
pub(crate) struct Gate {
    wire: Arc<dyn Wire>,
    /// Raised when a connection was made.
    connections: watch::Receiver<u64>,
    /// The last connection on which the log was looked at.
    looked: Arc<Level>,
    /// What was known of that.
    seen: u64,
}

impl Gate {
    /// The level is set by who looks at the log.
    pub(crate) fn new(ports: &Ports, looked: Arc<Level>) -> Self {
        Self {
            wire: ports.wire.clone(),
            connections: ports.connections.clone(),
            looked,
            seen: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.wire.is_connected() && self.looked.get() == *self.connections.borrow()
    }

    /// Resolves when the log has been looked at again.
    pub(crate) async fn changed(&mut self) {
        let seen = self.seen;
        self.seen = self.looked.until(|now| now != seen).await;
    }

    pub(crate) async fn opened(&mut self) {
        while !self.is_open() {
            self.changed().await;
        }
    }
}
