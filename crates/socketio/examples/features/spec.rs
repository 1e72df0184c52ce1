//! The `spec` object: who gets something.

use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::{Arguments, Broadcast, Event, SocketIo, SocketRef};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Spec {
    pub(crate) from: Option<String>,
    rooms: Vec<String>,
    except: Vec<String>,
    volatile: bool,
    local: bool,
    event: String,
    args: Vec<Value>,
    timeout: Option<u64>,
}

/// A room or a list of rooms.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(room) => vec![room],
            Self::Many(rooms) => rooms,
        }
    }
}

impl Spec {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.unwrap_or(1000))
    }

    /// Read from the event's first argument; its placeholders stay, for [`Spec::to_event`].
    pub(crate) fn of(arguments: &Arguments) -> Self {
        let first = arguments.values().into_iter().next().unwrap_or_default();
        serde_json::from_value(first).unwrap_or_default()
    }

    /// The event to emit, with the attachments that came with the spec.
    pub(crate) fn to_event(&self, attachments: &[Bytes]) -> Option<Event> {
        let args = Arguments::list_with(&self.args, attachments).ok()?;
        Event::from_arguments(&self.event, &args).ok()
    }

    pub(crate) fn name(&self) -> &str {
        &self.event
    }

    pub(crate) fn args(&self) -> &[Value] {
        &self.args
    }

    /// What the spec selects, seen from a socket.
    pub(crate) fn select(&self, s: &SocketRef) -> Broadcast {
        let all = if self.from.as_deref() == Some("socket") {
            s.broadcast()
        } else {
            s.namespace().all()
        };
        self.narrow(all)
    }

    /// The same in all children of the dynamic namespace.
    pub(crate) fn select_children(&self, io: &SocketIo) -> Vec<Broadcast> {
        let children = io
            .namespaces()
            .into_iter()
            .filter(|n| n.path().starts_with("/dyn-"));
        children.map(|child| self.narrow(child.all())).collect()
    }

    fn narrow(&self, mut all: Broadcast) -> Broadcast {
        if !self.rooms.is_empty() {
            all = all.to(self.rooms.clone());
        }
        if !self.except.is_empty() {
            all = all.except(self.except.clone());
        }
        if self.volatile {
            all = all.volatile();
        }
        if self.local {
            all = all.local();
        }
        all.timeout(self.timeout())
    }
}
