//! Named rooms: joining, leaving, and who may speak in one.

use std::sync::Arc;

use chatcluster_socketio::{AckSender, Arguments, SocketRef, State};
use serde_json::{Value, json};

use super::visitor::Guest;
use super::{Chat, events, presence};
use crate::codes::{Code, Refusal};
use crate::limits::check_room;

/// What the chat's rooms are called in the Socket.IO layer: no name of a user's can be a socket's id.
const PREFIX: &str = "room:";
/// What the room is called that holds a user's sockets, all of them and nobody else's.
const USER_PREFIX: &str = "user:";

/// The room of a user's sockets. They are in it from their beginning, and after recovery.
pub(super) fn of_user(subject: &str) -> String {
    format!("{USER_PREFIX}{subject}")
}

/// The user whose room it is, and the chat's name of a room that clients join; both `None` for any other room.
pub(super) fn read_name(socket_room: &str) -> (Option<&str>, Option<&str>) {
    (
        socket_room.strip_prefix(USER_PREFIX),
        socket_room.strip_prefix(PREFIX),
    )
}

/// A room's name that was found good.
#[derive(Debug, Clone)]
pub(crate) struct Name(String);

impl Name {
    pub(super) fn parse(value: Option<&Value>) -> Result<Self, Refusal> {
        let name = value
            .and_then(Value::as_str)
            .ok_or(Refusal::of(Code::WrongShape, "room"))?;
        Self::new(name)
    }

    pub(super) fn new(name: &str) -> Result<Self, Refusal> {
        check_room(name)?;
        Ok(Self(name.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn socket_room(&self) -> String {
        format!("{PREFIX}{}", self.0)
    }

    fn is_joined_by(&self, s: &SocketRef) -> bool {
        let room = self.socket_room();
        s.rooms().iter().any(|joined| **joined == *room)
    }
}

/// A room that the sender is in.
pub(super) fn joined(s: &SocketRef, value: Option<&Value>) -> Result<Name, Refusal> {
    let name = Name::parse(value)?;
    if name.is_joined_by(s) {
        Ok(name)
    } else {
        Err(Refusal::of(Code::NotInRoom, "room"))
    }
}

/// The lobby (absent or null), or a room that the sender is in.
pub(super) fn joined_or_lobby(
    s: &SocketRef,
    value: Option<&Value>,
) -> Result<Option<Name>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        room => joined(s, room).map(Some),
    }
}

pub(super) async fn on_join(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let room = chat.check_join(&s, &guest, &arguments);
    let Ok(name) = room else {
        return chat.reply(&guest.0, ack, room.map(|_| ()));
    };
    let is_new = !name.is_joined_by(&s);
    // Everything above it comes live, everything up to it is in the history.
    let position = chat.tellable(s.join(name.socket_room()).await);
    if is_new {
        presence::announce(&s, events::JOINED, Some(&name), guest.0.name());
    }
    chat.reply(
        &guest.0,
        ack,
        Ok(json!({ "room": name.as_str(), "serverOffset": position })),
    );
}

pub(super) async fn on_leave(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let name = chat
        .pace(&guest.0, events::ROOM_LEAVE)
        .map_err(Refusal::from);
    let name = name.and_then(|()| Name::parse(arguments.values().first()));
    if let Ok(name) = &name
        && name.is_joined_by(&s)
    {
        presence::announce(&s, events::LEFT, Some(name), guest.0.name());
        s.leave(name.socket_room()).await;
    }
    chat.reply(
        &guest.0,
        ack,
        name.map(|name| json!({ "room": name.as_str() })),
    );
}

impl Chat {
    fn check_join(
        &self,
        s: &SocketRef,
        guest: &Guest,
        arguments: &Arguments,
    ) -> Result<Name, Refusal> {
        self.pace(&guest.0, events::ROOM_JOIN)?;
        let name = Name::parse(arguments.values().first())?;
        let is_joinable = |room: &&Arc<str>| room.starts_with(PREFIX);
        let joined = s.rooms().iter().filter(is_joinable).count();
        if !name.is_joined_by(s) && joined >= self.settings().limits.rooms_per_socket {
            return Err(Refusal::of(Code::TooManyRooms, "room"));
        }
        Ok(name)
    }
}
