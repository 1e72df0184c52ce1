//! Whether this node may write to the log: only after it has looked at it since the connection was made.
//!
//! A broker can come back with an older log. What was written to that before anybody looked would stand where lost messages
//! stood, and nodes that had read those would take it for known. What lay in the client's buffer when the connection was made
//! goes out before any look; who wrote it learns by [`Gate::is_on`] that its acknowledgement is not to be trusted.

use std::sync::Arc;

use chatcluster_socketio::level::Level;

use crate::ports::Wire;

/// Open while the log that is connected to has been looked at.
#[derive(Clone)]
pub(crate) struct Gate {
    wire: Arc<dyn Wire>,
    /// The last connection on which the log was looked at.
    looked: Arc<Level>,
    /// What was known of that.
    seen: u64,
}

impl Gate {
    /// The level is set by who looks at the log.
    pub(crate) fn new(wire: Arc<dyn Wire>, looked: Arc<Level>) -> Self {
        Self {
            wire,
            looked,
            seen: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection().is_some()
    }

    /// Whether that is still the connection.
    pub(crate) fn is_on(&self, connection: u64) -> bool {
        self.wire.connection() == connection
    }

    /// Resolves when the log has been looked at again.
    pub(crate) async fn changed(&mut self) {
        let seen = self.seen;
        self.seen = self.looked.until(|now| now != seen).await;
    }

    /// Resolves when it is open, with the connection by which may be written.
    pub(crate) async fn opened(&mut self) -> u64 {
        loop {
            if let Some(connection) = self.connection() {
                return connection;
            }
            self.changed().await;
        }
    }

    fn connection(&self) -> Option<u64> {
        let connection = self.wire.connection();
        let is_open = self.wire.is_connected() && self.looked.get() == connection;
        is_open.then_some(connection)
    }
}
