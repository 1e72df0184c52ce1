//! Answers: what is refused, in one shape, and with which HTTP status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::codes::{Code, Refusal};

/// Seconds after which a refusal that may pass is worth another try.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    refusal: Refusal,
    /// What the sentence of the code cannot say.
    detail: Option<String>,
}

/// What is answered to a request that is refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refused {
    error: Problem,
}

/// Why a request is refused.
#[derive(Serialize, ToSchema)]
struct Problem {
    /// A number of `docs/protocol.md`.
    code: u16,
    /// The same in words.
    message: String,
    /// What of the request is wrong, if one part is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'static str>,
    /// Whether the same request may succeed later.
    retry: bool,
}

/// What may be answered to any request.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes what `Failure` becomes")]
pub(super) enum Refusals {
    /// Refused: the same request will be refused again.
    #[response(status = "4XX")]
    Wrong(Refused),
    /// Refused for now. Nothing was done, unless the code is 105 or 107: then it is not known.
    #[response(status = 503, headers(("Retry-After" = u64, description = "seconds")))]
    Passing(Refused),
}

pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(status: StatusCode, refusal: impl Into<Refusal>) -> Self {
        Self {
            status,
            refusal: refusal.into(),
            detail: None,
        }
    }

    pub(super) fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(status(refusal.code), refusal)
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Refusal::from(code).into()
    }
}

fn status(code: Code) -> StatusCode {
    match code {
        _ if code.retry() => StatusCode::SERVICE_UNAVAILABLE,
        Code::TokenRequired | Code::TokenInvalid => StatusCode::UNAUTHORIZED,
        Code::NoSuchPath => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Refusal { code, field } = self.refusal;
        let message = match self.detail {
            Some(detail) => format!("{}: {detail}", code.message()),
            None => code.message().to_owned(),
        };
        let problem = Problem {
            code: code.number(),
            message,
            field,
            retry: code.retry(),
        };
        let mut response = (self.status, Json(Refused { error: problem })).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if code.retry() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

pub(super) async fn no_such_path() -> Failure {
    Code::NoSuchPath.into()
}

pub(super) async fn no_such_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, Code::NoSuchPath)
}
