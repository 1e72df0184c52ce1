//! What a backend may do in the chat: say something in a room, emit to its sockets, see them, send them away.
//!
//! How it asks is [`crate::backend`]'s. It is no visitor: it has no pace, and need not be in a room to speak there.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::log::{Appended, Record};
use chatcluster_socketio::{Arguments, Broadcast, EmitError, Event, Namespace, NodeId, Sid};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::messages::{message_event, now_ms};
use super::presence::MAX_LISTED;
use super::reply::refusal_of;
use super::rooms::{self, Name};
use super::visitor::Card;
use super::{Chat, events};
use crate::codes::{Code, Refusal};
use crate::history::{MessageId, encode_body};
use crate::limits::{check_content, is_name};

/// How long other nodes may take to answer: well within the deadline of a request.
const NODES: Duration = Duration::from_secs(5);
const MAX_EVENT_CHARACTERS: usize = 128;
/// As in tokens.
pub(crate) const MAX_USER_CHARACTERS: usize = 256;

/// Whom a backend speaks to.
pub(crate) enum Place {
    /// Everybody.
    Lobby,
    Room(Name),
    /// All sockets of the one with this `sub`.
    User(String),
    Socket(Sid),
}

/// A message from a backend.
pub(crate) struct Post<'a> {
    pub(crate) content: &'a str,
    /// The name that is shown.
    pub(crate) author: &'a str,
    /// The same on each retry.
    pub(crate) key: &'a str,
}

/// The sockets of a place.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listed {
    /// The first by id, at most 500.
    sockets: Vec<Listing>,
    /// How many there are.
    total: usize,
    /// Nodes that did not answer in time: their sockets are not counted.
    missing: Vec<String>,
}

/// A socket.
#[derive(Serialize, ToSchema)]
struct Listing {
    /// Its id; a recovered client has the one that it had before.
    id: String,
    /// The node that it is connected to.
    node: String,
    /// The name that is shown to others.
    name: String,
    /// The `sub` of its token; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// The rooms that it has joined.
    rooms: Vec<String>,
}

impl Place {
    pub(crate) fn room(name: &str) -> Result<Self, Refusal> {
        Name::new(name).map(Self::Room)
    }

    pub(crate) fn user(subject: String) -> Result<Self, Refusal> {
        if subject.is_empty() || subject.chars().nth(MAX_USER_CHARACTERS).is_some() {
            return Err(Refusal::of(Code::WrongRequest, "user"));
        }
        Ok(Self::User(subject))
    }

    pub(crate) fn socket(id: &str) -> Result<Self, Refusal> {
        let id = Sid::parse(id).ok_or(Refusal::of(Code::WrongRequest, "socket"))?;
        Ok(Self::Socket(id))
    }

    /// Its sockets on all nodes.
    pub(crate) fn sockets(&self, namespace: &Arc<Namespace>) -> Broadcast {
        let sockets = match self {
            Self::Lobby => namespace.all(),
            Self::Room(name) => namespace.to(name.socket_room()),
            Self::User(subject) => namespace.to(rooms::of_user(subject)),
            Self::Socket(id) => namespace.to(id.to_string()),
        };
        sockets.timeout(NODES)
    }
}

impl Chat {
    /// Stores a message and delivers it, as `chat message` and `room:message` do.
    pub(crate) async fn post(
        &self,
        namespace: &Arc<Namespace>,
        room: Option<Name>,
        post: &Post<'_>,
    ) -> Result<Appended, Refusal> {
        check_content(post.content, self.settings().limits.message_characters)?;
        if !is_name(post.author) {
            return Err(Refusal::of(Code::Name, "author"));
        }
        let at = now_ms();
        let name = room.as_ref().map(Name::as_str);
        let event = message_event(name, post.content, post.author, at)?;
        let id = MessageId {
            // No namespace of clients begins so: a backend's message is never a client's, whatever ids they choose.
            namespace: &format!("backend:{}", namespace.path()),
            room: name.unwrap_or_default(),
            subject: Some(post.author),
            session: "",
            client_id: post.key,
            content: post.content,
        };
        let record = Record {
            key: id.key(),
            room: name.unwrap_or_default().into(),
            body: encode_body(post.author, post.content, at),
        };
        let to = room.map_or(Place::Lobby, Place::Room).sockets(namespace);
        let appended = to.append(event, Some(record)).decided().await;
        appended.map_err(|error| refusal_of(error).into())
    }

    /// The sockets of a place.
    pub(crate) async fn see(&self, namespace: &Arc<Namespace>, place: &Place) -> Listed {
        let fetched = place.sockets(namespace).fetch_sockets().await;
        let mut sockets = fetched.sockets;
        let total = sockets.len();
        sockets.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        sockets.truncate(MAX_LISTED);
        let listed = sockets.into_iter().map(|socket| {
            let card: Option<Card> = serde_json::from_value(socket.data).ok();
            let names = socket.rooms.iter().map(|room| rooms::read_name(room));
            let (users, rooms): (Vec<_>, Vec<_>) = names.unzip();
            Listing {
                id: socket.id,
                node: socket.node,
                name: card.map(|card| card.name).unwrap_or_default(),
                user: users.into_iter().flatten().next().map(str::to_owned),
                rooms: rooms.into_iter().flatten().map(str::to_owned).collect(),
            }
        });
        Listed {
            sockets: listed.collect(),
            total,
            missing: names(&fetched.missing),
        }
    }
}

pub(crate) fn names(nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|node| node.as_str().to_owned()).collect()
}

/// What the Socket.IO layer calls a room.
pub(crate) fn room(name: &str) -> Result<String, Refusal> {
    Name::new(name).map(|name| name.socket_room())
}

/// An event that a backend may emit.
pub(crate) fn event(name: &str, args: &[Value]) -> Result<Event, Refusal> {
    let refused = Refusal::of(Code::EventName, "event");
    let is_long = name.chars().nth(MAX_EVENT_CHARACTERS).is_some();
    if name.is_empty() || is_long || events::FROM_SERVER.contains(&name) {
        return Err(refused);
    }
    let arguments = Arguments::list(args).map_err(|_| Refusal::of(Code::WrongRequest, "args"))?;
    Event::from_arguments(name, &arguments).map_err(|error| match error {
        EmitError::Reserved(_) => refused,
        _ => Refusal::of(Code::WrongRequest, "args"),
    })
}
