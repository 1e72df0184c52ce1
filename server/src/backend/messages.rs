//! Saying something.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Door;
use super::answer::{Answer, Failure, Refusals};
use super::input::{At, Body, InLobby, InRoom, Key, KeyHeader, Names};
use crate::chat::backend::{Place, Post};
use crate::codes::Code;

/// The author of a message that names none.
const AUTHOR: &str = "server";

/// A message to be stored and delivered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Text, at most `limits.messageCharacters` Unicode characters.
    #[schema(min_length = 1)]
    content: String,
    /// The name that is shown; `server` if absent.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    author: Option<String>,
}

/// A message that is stored.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    /// Its position in the log.
    server_offset: u64,
    /// It was stored before, by a request with the same key, place, author and content; nobody is shown it again.
    duplicate: bool,
}

/// Stores a message of the lobby and delivers it as `chat message`
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/lobby/messages",
    operation_id = "postToLobby",
    tag = "messages",
    params(
        InLobby,
        KeyHeader
    ),
    request_body = NewMessage,
    responses(
        (status = 201, description = "stored now", body = Stored),
        (status = 200, description = "stored by an earlier request", body = Stored),
        Refusals
    )
)]
pub(super) async fn in_lobby(
    State(door): State<Door>,
    at: At<InLobby>,
    key: Key,
    body: Body<NewMessage>,
) -> Answer<(StatusCode, Json<Stored>)> {
    post(&door, at, &key, &body.0).await
}

/// Stores a message of a room and delivers it as `room:message`
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/rooms/{room}/messages",
    operation_id = "postToRoom",
    tag = "messages",
    params(
        InRoom,
        KeyHeader
    ),
    request_body = NewMessage,
    responses(
        (status = 201, description = "stored now", body = Stored),
        (status = 200, description = "stored by an earlier request", body = Stored),
        Refusals
    )
)]
pub(super) async fn in_room(
    State(door): State<Door>,
    at: At<InRoom>,
    key: Key,
    body: Body<NewMessage>,
) -> Answer<(StatusCode, Json<Stored>)> {
    post(&door, at, &key, &body.0).await
}

async fn post<T: Names>(
    door: &Door,
    at: At<T>,
    key: &Key,
    message: &NewMessage,
) -> Answer<(StatusCode, Json<Stored>)> {
    let room = match at.place {
        Place::Lobby => None,
        Place::Room(room) => Some(room),
        Place::User(_) | Place::Socket(_) => return Err(Code::NoSuchPath.into()),
    };
    let post = Post {
        content: &message.content,
        author: message.author.as_deref().unwrap_or(AUTHOR),
        key: &key.0,
    };
    let appended = door.0.chat.post(&at.namespace, room, &post).await;
    let appended = appended.map_err(Failure::from)?;
    let status = if appended.is_duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let stored = Stored {
        server_offset: appended.position,
        duplicate: appended.is_duplicate,
    };
    Ok((status, Json(stored)))
}
