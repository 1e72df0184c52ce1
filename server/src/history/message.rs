//! A message as it is stored and as clients read it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A stored message, in the form of `docs/protocol.md`: `{serverOffset, content, author, at}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its position in the log.
    #[serde(rename = "serverOffset")]
    pub position: u64,
    /// What was said.
    pub content: String,
    /// The name shown.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// The body of a record: what the log carries without looking inside.
#[derive(Serialize, Deserialize)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) author: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) content: Cow<'a, str>,
    pub(super) at: u64,
}

/// Encodes the body of a [`Record`](super::Record).
pub fn encode_body(author: &str, content: &str, at: u64) -> Bytes {
    let body = Body {
        author: author.into(),
        content: content.into(),
        at,
    };
    Bytes::from(serde_json::to_vec(&body).expect("texts and a number are always JSON"))
}
