//! Emitting events that are no messages: logged, so that who recovers gets them too, or volatile.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Door;
use super::answer::{Answer, Refusals};
use super::input::{At, Body, InLobby, InRoom, Names, OfUser};
use crate::chat::backend;
use crate::chat::reply::refusal_of;
use crate::codes::{Code, Refusal};

/// An event to be delivered. It is not in the history, and an event that is asked for twice is delivered twice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Emission {
    /// Its name: not one of Socket.IO's own (`connect`, `disconnect`, ...), nor one that this server emits.
    #[schema(min_length = 1, max_length = 128)]
    event: String,
    /// Its arguments.
    #[serde(default)]
    args: Vec<Value>,
    /// Only for those who can be written to at once; not logged, not recovered.
    #[serde(default)]
    volatile: bool,
    /// Who is in one of these rooms does not get it.
    #[serde(default)]
    #[schema(max_items = 64)]
    except: Vec<RoomName>,
}

/// An event to be delivered to who is in a room, or in one of several. It is not in the history, and an event that is asked
/// for twice is delivered twice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomEmission {
    /// Its name: not one of Socket.IO's own (`connect`, `disconnect`, ...), nor one that this server emits.
    #[schema(min_length = 1, max_length = 128)]
    event: String,
    /// Its arguments.
    #[serde(default)]
    args: Vec<Value>,
    /// Only for those who can be written to at once; not logged, not recovered.
    #[serde(default)]
    volatile: bool,
    /// Who is in one of these rooms does not get it.
    #[serde(default)]
    #[schema(max_items = 64)]
    except: Vec<RoomName>,
    /// More rooms. Who is in several of them gets it once.
    #[serde(default)]
    #[schema(max_items = 64)]
    rooms: Vec<RoomName>,
}

/// The name of a room.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
pub(super) struct RoomName(String);

/// Rooms that one list may name.
const MAX_ROOMS: usize = 64;

impl RoomEmission {
    fn split(self) -> (Vec<RoomName>, Emission) {
        let Self {
            event,
            args,
            volatile,
            except,
            rooms,
        } = self;
        let emission = Emission {
            event,
            args,
            volatile,
            except,
        };
        (rooms, emission)
    }
}

/// An event that was emitted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Emitted {
    /// Its position in the log; `null` if it was volatile.
    #[schema(required)]
    server_offset: Option<u64>,
}

/// Emits to everybody in the namespace
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/lobby/emit",
    operation_id = "emitToLobby",
    tag = "events",
    params(InLobby),
    request_body = Emission,
    responses(
        (status = 200, description = "in the log, or volatile and on its way", body = Emitted),
        Refusals
    )
)]
pub(super) async fn to_lobby(
    State(_): State<Door>,
    at: At<InLobby>,
    body: Body<Emission>,
) -> Answer<Json<Emitted>> {
    emit(&at, &[], &body.0).await
}

/// Emits to who is in a room, or in one of several
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/rooms/{room}/emit",
    operation_id = "emitToRoom",
    tag = "events",
    params(InRoom),
    request_body = RoomEmission,
    responses(
        (status = 200, description = "in the log, or volatile and on its way", body = Emitted),
        Refusals
    )
)]
pub(super) async fn to_room(
    State(_): State<Door>,
    at: At<InRoom>,
    body: Body<RoomEmission>,
) -> Answer<Json<Emitted>> {
    let (more, emission) = body.0.split();
    emit(&at, &more, &emission).await
}

/// Emits to all sockets of a user
#[utoipa::path(
    post,
    path = "/api/v1/namespaces/{ns}/users/{user}/emit",
    operation_id = "emitToUser",
    tag = "events",
    params(OfUser),
    request_body = Emission,
    responses(
        (status = 200, description = "in the log, or volatile and on its way", body = Emitted),
        Refusals
    )
)]
pub(super) async fn to_user(
    State(_): State<Door>,
    at: At<OfUser>,
    body: Body<Emission>,
) -> Answer<Json<Emitted>> {
    emit(&at, &[], &body.0).await
}

async fn emit<T: Names>(
    at: &At<T>,
    more: &[RoomName],
    emission: &Emission,
) -> Answer<Json<Emitted>> {
    let event = backend::event(&emission.event, &emission.args)?;
    let to = at.place.sockets(&at.namespace);
    let to = to.to(read(more, "rooms")?);
    let to = to.except(read(&emission.except, "except")?);
    if emission.volatile {
        to.volatile().emit_event(event);
        return Ok(Json(Emitted {
            server_offset: None,
        }));
    }
    let appended = to.append(event, None).decided().await;
    let appended = appended.map_err(|error| match refusal_of(error) {
        // Only a message has content.
        Code::ContentLength => Code::TooLarge,
        code => code,
    })?;
    Ok(Json(Emitted {
        server_offset: Some(appended.position),
    }))
}

/// What the Socket.IO layer calls the rooms of a list.
fn read(names: &[RoomName], field: &'static str) -> Result<Vec<String>, Refusal> {
    if names.len() > MAX_ROOMS {
        return Err(Refusal::of(Code::WrongRequest, field));
    }
    let rooms = names.iter().map(|RoomName(name)| backend::room(name));
    let rooms: Result<_, Refusal> = rooms.collect();
    rooms.map_err(|refusal| Refusal {
        field: Some(field),
        ..refusal
    })
}
