//! Who is here, who comes and goes, who is typing.

use chatcluster_socketio::{AckSender, Arguments, SocketRef, State};
use serde_json::{Value, json};

use super::rooms::{Name, joined_or_lobby};
use super::visitor::{Card, Guest};
use super::{Chat, events};
use crate::codes::Refusal;

/// More members than this are counted, not listed.
pub(super) const MAX_LISTED: usize = 500;
/// Beyond this many in a place, on all nodes together, coming and going is not announced: everybody telling everybody costs
/// the square, and a node that fills or drains would tell all the others of each client that it takes or lets go.
const MAX_ANNOUNCED: usize = 200;

pub(super) async fn on_typing(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let place = chat.pace(&guest.0, events::TYPING).map_err(Refusal::from);
    let place = place.and_then(|()| joined_or_lobby(&s, arguments.values().first()));
    match place {
        Ok(room) => tell(
            &s,
            events::TYPING,
            room.as_ref(),
            &json!({ "room": name_of(room.as_ref()), "author": guest.0.name() }),
        ),
        Err(refusal) => chat.refuse(&guest.0, ack, refusal),
    }
}

pub(super) async fn on_who(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let place = chat.pace(&guest.0, events::WHO).map_err(Refusal::from);
    let room = match place.and_then(|()| joined_or_lobby(&s, arguments.values().first())) {
        Ok(room) => room,
        Err(refusal) => return chat.refuse(&guest.0, ack, refusal),
    };
    let all = s.namespace().all();
    let there = match &room {
        Some(room) => all.to(room.socket_room()),
        None => all,
    };
    let fetched = there.fetch_sockets().await;
    let members: Vec<Value> = fetched
        .sockets
        .iter()
        .take(MAX_LISTED)
        .map(|socket| json!({ "id": socket.id, "name": socket.data.get("name") }))
        .collect();
    let missing: Vec<&str> = fetched
        .missing
        .iter()
        .map(chatcluster_socketio::NodeId::as_str)
        .collect();
    let answer = json!({ "members": members, "total": fetched.sockets.len(), "missing": missing });
    chat.reply(&guest.0, ack, Ok(answer));
}

/// Tells the others in the place that somebody came or went.
pub(super) fn announce(s: &SocketRef, event: &str, room: Option<&Name>, name: &str) {
    let namespace = s.namespace();
    // Of a room only those here are known: as many are taken to be on each node.
    let others = room.map_or_else(
        || namespace.approximate_len(),
        |room| namespace.local_room_len(&room.socket_room()) * namespace.node_count(),
    );
    if others <= MAX_ANNOUNCED {
        let card = Card {
            name: name.to_owned(),
        };
        let about = json!({ "room": name_of(room), "id": s.id().to_string(), "name": card.name });
        tell(s, event, room, &about);
    }
}

fn tell(s: &SocketRef, event: &str, room: Option<&Name>, about: &Value) {
    let others = s.broadcast().volatile();
    let to = match room {
        Some(room) => others.to(room.socket_room()),
        None => others,
    };
    if let Err(error) = to.emit(event, about) {
        tracing::error!(%error, event, "write a notice");
    }
}

fn name_of(room: Option<&Name>) -> Option<&str> {
    room.map(Name::as_str)
}
