//! Saying something: check, make the message's key, append to the log, acknowledge once it is stored.

use chatcluster_socketio::log::Record;
use chatcluster_socketio::{AckSender, Arguments, Event, SocketRef, State};
use serde_json::{Value, json};

use super::rooms::{self, Name};
use super::visitor::{Guest, Visitor};
use super::{Chat, events};
use crate::codes::{Code, Refusal};
use crate::history::{MessageId, encode_body, random_key};
use crate::limits::{check_client_offset, check_content};

/// A message that was found good.
struct Said<'a> {
    /// `None` in the lobby.
    room: Option<Name>,
    content: &'a str,
    client_offset: Option<&'a str>,
    /// Milliseconds since 1970, the same for those who see it live and for the history.
    at: u64,
}

pub(super) async fn on_chat_message(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let values = arguments.values();
    let said = chat
        .pace(&guest.0, events::CHAT_MESSAGE)
        .map_err(Refusal::from)
        .and_then(|()| chat.check_said(None, &values));
    chat.say(&s, guest, said, ack);
}

pub(super) async fn on_room_message(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let values = arguments.values();
    let said = chat
        .pace(&guest.0, events::ROOM_MESSAGE)
        .map_err(Refusal::from)
        .and_then(|()| rooms::joined(&s, values.first()))
        .and_then(|room| chat.check_said(Some(room), values.get(1..).unwrap_or_default()));
    chat.say(&s, guest, said, ack);
}

impl Chat {
    fn check_said<'a>(&self, room: Option<Name>, values: &'a [Value]) -> Result<Said<'a>, Refusal> {
        let content = values
            .first()
            .and_then(Value::as_str)
            .ok_or(Refusal::of(Code::WrongShape, "content"))?;
        check_content(content, self.settings().limits.message_characters)?;
        let client_offset = match values.get(1) {
            None | Some(Value::Null) => None,
            Some(Value::String(offset)) => {
                check_client_offset(offset)?;
                Some(offset.as_str())
            }
            Some(_) => return Err(Refusal::of(Code::WrongShape, "clientOffset")),
        };
        Ok(Said {
            room,
            content,
            client_offset,
            at: now_ms(),
        })
    }

    /// Submits at once, so that a sender's order is kept; acknowledges when it is stored.
    fn say(&self, s: &SocketRef, guest: Guest, said: Result<Said<'_>, Refusal>, ack: AckSender) {
        let (said, event) = match said.and_then(|said| Ok((event_of(&said, &guest.0)?, said))) {
            Ok((event, said)) => (said, event),
            Err(refusal) => return self.refuse(&guest.0, ack, refusal),
        };
        let all = s.namespace().all();
        let to = match &said.room {
            Some(room) => all.to(room.socket_room()),
            None => all,
        };
        let record = record_of(&said, s, &guest.0);
        let chat = self.clone();
        to.append_then(event, Some(record), move |result| {
            chat.reply_appended(&guest.0, ack, result)
        });
    }
}

pub(super) fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The event as live receivers get it; [`Chat::backfill`] sends the same shape.
pub(super) fn message_event(
    room: Option<&str>,
    content: &str,
    author: &str,
    at: u64,
) -> Result<Event, Refusal> {
    let meta = json!({ "author": author, "at": at });
    let event = match room {
        None => Event::with_position(events::CHAT_MESSAGE, &content, &meta),
        Some(room) => Event::with_position(events::ROOM_MESSAGE, &(room, content), &meta),
    };
    event.map_err(|error| {
        tracing::error!(%error, "write a message");
        Refusal::from(Code::WrongShape)
    })
}

fn event_of(said: &Said<'_>, visitor: &Visitor) -> Result<Event, Refusal> {
    message_event(
        said.room.as_ref().map(Name::as_str),
        said.content,
        visitor.name(),
        said.at,
    )
}

fn record_of(said: &Said<'_>, s: &SocketRef, visitor: &Visitor) -> Record {
    let room = said.room.as_ref().map_or("", Name::as_str);
    let key = said.client_offset.map_or_else(random_key, |client_id| {
        let id = MessageId {
            namespace: s.namespace().path(),
            room,
            subject: visitor.claim.identity.subject.as_deref(),
            session: &Visitor::scope(s),
            client_id,
            content: said.content,
        };
        id.key()
    });
    Record {
        key,
        room: room.into(),
        body: encode_body(visitor.name(), said.content, said.at),
    }
}
