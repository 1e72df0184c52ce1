//! Requests that are refused: the closed set of codes, and how each looks on plain HTTP and to a WebSocket client.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::accept::Refusal;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Rejection {
    UnknownTransport,
    UnknownSid,
    BadMethod,
    BadRequest,
    Refused(Refusal),
    UnsupportedVersion,
    /// A body beyond the limit; not an Engine.IO code.
    TooLarge,
    /// A body that did not arrive in time; not an Engine.IO code.
    TooSlow,
    /// Not the engine's path; not an Engine.IO code.
    NotFound,
}

impl Rejection {
    /// The code in the answer.
    pub(crate) fn code(&self) -> Option<usize> {
        match self {
            Self::UnknownTransport => Some(0),
            Self::UnknownSid => Some(1),
            Self::BadMethod => Some(2),
            Self::BadRequest => Some(3),
            Self::Refused(_) => Some(4),
            Self::UnsupportedVersion => Some(5),
            Self::TooLarge | Self::TooSlow | Self::NotFound => None,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::Refused(refusal) => &refusal.message,
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::TooLarge => "Payload too large",
            Self::TooSlow => "Request timeout",
            Self::NotFound => "Not found",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer. A WebSocket client gets the bare message, and 400 in place of 403, as the reference does it; other
    /// statuses of a refusal (429, 503) are kept, for proxies act on them.
    pub(crate) fn into_response(self, is_websocket: bool) -> Response<Full<Bytes>> {
        let mut status = self.status();
        let mut headers = HeaderMap::new();
        let body = match self.code() {
            Some(code) if !is_websocket => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                format!("{{\"code\":{code},\"message\":{}}}", quote(self.message()))
            }
            _ => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
                escape_html(self.message())
            }
        };
        if is_websocket {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            if status == StatusCode::FORBIDDEN {
                status = StatusCode::BAD_REQUEST;
            }
        }
        if let Self::Refused(refusal) = self {
            headers.extend(refusal.headers);
        }
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The message may hold what a client sent; the answer is labelled as HTML.
fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn body(response: Response<Full<Bytes>>) -> String {
        let bytes = futures_util::FutureExt::now_or_never(response.into_body().collect());
        String::from_utf8(bytes.unwrap().unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn http_gets_code_and_message() {
        let response = Rejection::UnknownSid.into_response(false);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            body(response),
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
    }

    #[test]
    fn a_message_is_escaped() {
        let refusal = || Rejection::Refused(Refusal::forbidden("no \"<b>\"\n"));
        assert_eq!(
            body(refusal().into_response(false)),
            r#"{"code":4,"message":"no \"<b>\"\u000a"}"#
        );
        assert_eq!(body(refusal().into_response(true)), "no \"&lt;b&gt;\"\n");
    }

    #[test]
    fn a_refused_websocket_shows_400_unless_the_status_says_more() {
        let status = |status| {
            let refusal = Refusal::with_status(status, "no");
            Rejection::Refused(refusal).into_response(true).status()
        };
        assert_eq!(status(StatusCode::FORBIDDEN), StatusCode::BAD_REQUEST);
        assert_eq!(
            status(StatusCode::SERVICE_UNAVAILABLE),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
}
