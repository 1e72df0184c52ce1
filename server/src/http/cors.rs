//! Which pages of other origins may load the client bundle.

use axum::http::{HeaderMap, HeaderValue, header};
use chatcluster_chat_api::{Cors, Origins};

/// Adds what a browser needs to see, given the request's headers.
pub(super) fn allow(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    let allowed = match &cors.origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::List(origins) => {
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
            let origin = request.get(header::ORIGIN);
            origin
                .filter(|origin| {
                    origins
                        .iter()
                        .any(|one| one.as_bytes() == origin.as_bytes())
                })
                .cloned()
        }
    };
    let Some(allowed) = allowed else { return };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    if cors.credentials {
        let yes = HeaderValue::from_static("true");
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
}
