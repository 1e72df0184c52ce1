//! Who is there, and who has to go.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Door;
use super::answer::{Answer, Refusals};
use super::input::{At, InLobby, InRoom, Names, OfUser, OneSocket};
use crate::chat::backend::{Listed, names};

/// How many sockets were disconnected.
#[derive(Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// Sockets on the nodes that answered.
    sockets: usize,
    /// Nodes that did not answer in time: what they did is not known. Ask again.
    missing: Vec<String>,
}

/// Lists who is in the namespace
#[utoipa::path(
    get,
    path = "/api/v1/namespaces/{ns}/lobby/sockets",
    operation_id = "listSockets",
    tag = "sockets",
    params(InLobby),
    responses(
        (status = 200, description = "of all nodes that answered", body = Listed),
        Refusals
    )
)]
pub(super) async fn in_lobby(State(door): State<Door>, at: At<InLobby>) -> Json<Listed> {
    list(&door, at).await
}

/// Lists who is in a room
#[utoipa::path(
    get,
    path = "/api/v1/namespaces/{ns}/rooms/{room}/sockets",
    operation_id = "listSocketsInRoom",
    tag = "sockets",
    params(InRoom),
    responses(
        (status = 200, description = "of all nodes that answered", body = Listed),
        Refusals
    )
)]
pub(super) async fn in_room(State(door): State<Door>, at: At<InRoom>) -> Json<Listed> {
    list(&door, at).await
}

/// Lists the sockets of a user
#[utoipa::path(
    get,
    path = "/api/v1/namespaces/{ns}/users/{user}/sockets",
    operation_id = "listSocketsOfUser",
    tag = "sockets",
    params(OfUser),
    responses(
        (status = 200, description = "of all nodes that answered", body = Listed),
        Refusals
    )
)]
pub(super) async fn of_user(State(door): State<Door>, at: At<OfUser>) -> Json<Listed> {
    list(&door, at).await
}

/// Disconnects a socket for good: its session ends, and official clients do not come back by themselves
#[utoipa::path(
    delete,
    path = "/api/v1/namespaces/{ns}/sockets/{socket}",
    operation_id = "disconnectSocket",
    tag = "sockets",
    params(OneSocket),
    responses(
        (status = 200, description = "done by all nodes that answered; also if there is no such socket", body = Disconnected),
        Refusals
    )
)]
pub(super) async fn disconnect_socket(
    State(_): State<Door>,
    at: At<OneSocket>,
) -> Answer<Json<Disconnected>> {
    Ok(disconnect(at).await)
}

/// Disconnects everybody who is in a room for good
#[utoipa::path(
    delete,
    path = "/api/v1/namespaces/{ns}/rooms/{room}/sockets",
    operation_id = "disconnectRoom",
    tag = "sockets",
    params(InRoom),
    responses(
        (status = 200, description = "done by all nodes that answered", body = Disconnected),
        Refusals
    )
)]
pub(super) async fn disconnect_room(
    State(_): State<Door>,
    at: At<InRoom>,
) -> Answer<Json<Disconnected>> {
    Ok(disconnect(at).await)
}

/// Disconnects all sockets of a user for good; a token that is still valid lets the user in again
#[utoipa::path(
    delete,
    path = "/api/v1/namespaces/{ns}/users/{user}/sockets",
    operation_id = "disconnectUser",
    tag = "sockets",
    params(OfUser),
    responses(
        (status = 200, description = "done by all nodes that answered", body = Disconnected),
        Refusals
    )
)]
pub(super) async fn disconnect_user(
    State(_): State<Door>,
    at: At<OfUser>,
) -> Answer<Json<Disconnected>> {
    Ok(disconnect(at).await)
}

async fn list<T: Names>(door: &Door, at: At<T>) -> Json<Listed> {
    Json(door.0.chat.see(&at.namespace, &at.place).await)
}

async fn disconnect<T: Names>(at: At<T>) -> Json<Disconnected> {
    let done = at.place.sockets(&at.namespace);
    let done = done.disconnect_sockets(true).await;
    Json(Disconnected {
        sockets: done.sockets,
        missing: names(&done.missing),
    })
}
