//! What requests are made of: paths that name a place, keys, bodies.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use chatcluster_socketio::Namespace;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::Door;
use super::answer::{Answer, Failure};
use crate::chat::backend::Place;
use crate::codes::{Code, Refusal};

const MAX_KEY_CHARACTERS: usize = 128;

/// The namespaces that there are.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only the description says that there is one")]
enum Namespaces {
    #[schema(rename = "/")]
    Chat,
}

/// Everybody in a namespace.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InLobby {
    /// The namespace, percent-encoded: `%2F`.
    #[param(value_type = Namespaces, inline)]
    ns: String,
}

/// A room.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InRoom {
    /// The namespace, percent-encoded: `%2F`.
    #[param(value_type = Namespaces, inline)]
    ns: String,
    /// The room's name, percent-encoded.
    #[param(min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    room: String,
}

/// A user's sockets.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OfUser {
    /// The namespace, percent-encoded: `%2F`.
    #[param(value_type = Namespaces, inline)]
    ns: String,
    /// The `sub` of the user's tokens, percent-encoded. Clients without a token belong to no user.
    #[param(min_length = 1, max_length = 256)]
    user: String,
}

/// One socket.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OneSocket {
    /// The namespace, percent-encoded: `%2F`.
    #[param(value_type = Namespaces, inline)]
    ns: String,
    /// The socket's id.
    #[param(pattern = r"^[A-Za-z0-9_-]{20}$")]
    socket: String,
}

/// A path that names a place.
pub(super) trait Names: DeserializeOwned + Send {
    fn namespace(&self) -> &str;
    fn place(self) -> Result<Place, Refusal>;
}

impl Names for InLobby {
    fn namespace(&self) -> &str {
        &self.ns
    }
    fn place(self) -> Result<Place, Refusal> {
        Ok(Place::Lobby)
    }
}

impl Names for InRoom {
    fn namespace(&self) -> &str {
        &self.ns
    }
    fn place(self) -> Result<Place, Refusal> {
        Place::room(&self.room)
    }
}

impl Names for OfUser {
    fn namespace(&self) -> &str {
        &self.ns
    }
    fn place(self) -> Result<Place, Refusal> {
        Place::user(self.user)
    }
}

impl Names for OneSocket {
    fn namespace(&self) -> &str {
        &self.ns
    }
    fn place(self) -> Result<Place, Refusal> {
        Place::socket(&self.socket)
    }
}

/// Where a request is about.
pub(super) struct At<T> {
    pub(super) namespace: Arc<Namespace>,
    pub(super) place: Place,
    _named_by: std::marker::PhantomData<T>,
}

impl<T: Names> FromRequestParts<Door> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, door: &Door) -> Answer<Self> {
        let named = Path::<T>::from_request_parts(parts, door).await;
        let Ok(Path(named)) = named else {
            let failure = Failure::from(Code::WrongRequest);
            return Err(failure.because("the path is not percent-encoded UTF-8"));
        };
        Ok(Self {
            namespace: door.namespace(named.namespace())?,
            place: named.place()?,
            _named_by: std::marker::PhantomData,
        })
    }
}

/// The header that a message needs.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what `Key` reads")]
pub(super) struct KeyHeader {
    /// The same on each retry of a message, another one for every other message; a UUID is best.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 128,
        pattern = r"^[!-~]+$"
    )]
    key: String,
}

/// The header `Idempotency-Key`.
pub(super) struct Key(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let refused = Refusal::of(Code::IdempotencyKey, "Idempotency-Key");
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(refused.into());
        };
        let key = key.as_bytes();
        if !(1..=MAX_KEY_CHARACTERS).contains(&key.len()) {
            return Err(refused.into());
        }
        if !key.iter().all(u8::is_ascii_graphic) {
            let refused = Refusal::of(Code::WrongRequest, "Idempotency-Key");
            return Err(Failure::from(refused).because("a key is visible ASCII without spaces"));
        }
        Ok(Self(String::from_utf8_lossy(key).into_owned()))
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Answer<Self> {
        if !is_json(request.headers()) {
            let failure = Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::WrongRequest);
            return Err(failure.because("the body must be application/json"));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unread(&rejection))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Failure::from(Code::WrongRequest).because(error.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn unread(rejection: &BytesRejection) -> Failure {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Code::TooLarge.into()
    } else {
        Failure::from(Code::WrongRequest).because("the body ended early")
    }
}
