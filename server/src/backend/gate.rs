//! What every request passes: it is counted, its token is looked at, there must be room for it, and its time is bounded.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::Door;
use super::answer::Answer;
use crate::codes::Code;

/// Counts the answer under its route. Once the server drains the connection ends with it: the next one leads to another server.
pub(super) async fn count(State(door): State<Door>, request: Request, next: Next) -> Response {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or("none", MatchedPath::as_str).to_owned();
    let mut answer = next.run(request).await;
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    if door.0.entrance.is_shut() {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    let status = answer.status().as_u16();
    door.0.metrics.count_api_request(method, route, status);
    answer
}

/// Lets those in who have a token, as many at a time as there is room for, each for a bounded time.
pub(super) async fn admit(
    State(door): State<Door>,
    request: Request,
    next: Next,
) -> Answer<Response> {
    let token = bearer(request.headers()).ok_or(Code::TokenRequired)?;
    if !door.0.tokens.have(token) {
        return Err(Code::TokenInvalid.into());
    }
    let Ok(_room) = door.0.under_way.try_acquire() else {
        return Err(Code::TooManyRequests.into());
    };
    let answered = timeout(door.0.bounds.deadline, next.run(request)).await;
    Ok(answered.map_err(|_| Code::TooSlow)?.into_response())
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = given.as_bytes().split_at_checked(b"Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}
