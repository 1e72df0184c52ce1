//! What goes through the pipeline.

use std::time::Duration;

use chatcluster_socketio::adapter::Cast;
use chatcluster_socketio::log::{Envelope, Record};
use serde::{Deserialize, Serialize};

/// A message of the log, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) envelope: Envelope,
    /// What the read model keeps of it.
    pub(crate) record: Option<Record>,
}

/// What the follower hands on.
pub(crate) enum Item {
    /// The message at the next position; `None` if it cannot be read.
    Message {
        position: u64,
        /// The namespace's token.
        namespace: Box<str>,
        logged: Option<Box<Logged>>,
        age: Duration,
    },
    /// The log goes on after a position; what lies between is lost to this node.
    Gap { position: u64 },
    /// The log is another one, or was set back. It is delivered from after `position`; it ends at `end` for now.
    NewEpoch { epoch: u64, position: u64, end: u64 },
    /// A cast of this node, behind what it had appended.
    Own { namespace: Box<str>, cast: Cast },
}
