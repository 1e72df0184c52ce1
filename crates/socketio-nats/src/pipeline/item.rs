//! What goes through the pipeline.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::adapter::Cast;
use chatcluster_socketio::log::{Committed, Envelope, Record};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Content;

/// A message of the log, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) envelope: Envelope,
    /// What the read model keeps of it.
    pub(crate) record: Option<Record>,
}

/// What the follower hands on.
pub(crate) enum Item {
    /// The event at the next position.
    Message {
        position: u64,
        /// The namespace's token.
        namespace: Arc<str>,
        content: Content,
        age: Duration,
    },
    /// The log goes on after a position; what lies between is lost to this node.
    Gap { position: u64 },
    /// The log is another one, or was set back. It is delivered from after `position`; it ends at `end` for now.
    NewEpoch { epoch: u64, position: u64, end: u64 },
    /// A cast of this node, behind what it had appended.
    Own { namespace: Box<str>, cast: Cast },
}

impl Item {
    /// Reads a message of which something may have to be kept, as its namespace says.
    pub(super) fn read_if(&mut self, is_kept: impl Fn(&str) -> bool) {
        if let Self::Message {
            position,
            namespace,
            content,
            ..
        } = self
            && is_kept(namespace)
        {
            content.read(*position);
        }
    }
}

/// An item whose record, if it has one, is with the read model.
pub(super) struct Submitted {
    pub(super) item: Item,
    pub(super) fate: Option<oneshot::Receiver<Committed>>,
    /// Resets of the read models before it.
    pub(super) resets: u64,
}
