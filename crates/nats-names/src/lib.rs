//! Every name on the broker: subjects, streams, buckets, keys; and what a node must be allowed there ([`Permissions`]). Nothing
//! that a user chose reaches a name raw.
//!
//! A crate of its own, because both who uses NATS (`socketio-nats`) and who sets it up (the operator, which links nothing of
//! the server) must say the same.
//!
//! | name | holds |
//! | --- | --- |
//! | `<p>.log.<ns>.r.<room>` | logged events for exactly one room |
//! | `<p>.log.<ns>.w` | logged events for the whole namespace |
//! | `<p>.log.<ns>.m` | logged events for several rooms, or with `except`; several events in one message |
//! | `<p>.log.<ns>.u.<node>` | logged events for one session, by the node that emitted them |
//! | `<p>.cast.<ns>` | casts to all nodes, at most once |
//! | `<p>.ask.<ns>` | requests to all nodes |
//! | `<p>.node` | heartbeats and farewells |
//! | stream `<P>_log` | `<p>.log.>`; its sequences say where events are |
//! | bucket `<P>_sessions` | a session by the hash of its `pid`; a notice to a node whose sessions were swept, `swept-<node>` |
//! | bucket `<P>_meta` | the epoch, the secret that nodes share |
//!
//! `<p>` is the cluster's prefix, `<P>` the same with `_` for `.`. `<ns>`, `<room>` and `<node>` are tokens: base64url of the
//! name, or of its hash if it is long.

mod permissions;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

pub use permissions::Permissions;

/// Longest name that becomes a token as it is; a longer one is hashed. NATS bounds a protocol line at 4 KiB.
const MAX_RAW_BYTES: usize = 96;
/// Longest prefix.
const MAX_PREFIX_BYTES: usize = 64;

/// The prefix cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the prefix {0:?} must be 1 to {MAX_PREFIX_BYTES} characters of a-z, A-Z, 0-9, '-' and '_', in parts joined by '.'"
)]
pub struct BadPrefix(String);

/// The names of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Checks a prefix.
    ///
    /// # Errors
    /// [`BadPrefix`].
    pub fn new(prefix: &str) -> Result<Self, BadPrefix> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let mut parts = prefix.split('.');
        if prefix.len() > MAX_PREFIX_BYTES
            || !parts.all(|part| !part.is_empty() && part.chars().all(is_good))
        {
            return Err(BadPrefix(prefix.to_owned()));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn upper(&self) -> String {
        self.prefix.replace('.', "_")
    }

    /// The log's stream.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}_log", self.upper())
    }

    /// The bucket of sessions.
    #[must_use]
    pub fn sessions(&self) -> String {
        format!("{}_sessions", self.upper())
    }

    /// The bucket of the epoch and of the secret.
    #[must_use]
    pub fn meta(&self) -> String {
        format!("{}_meta", self.upper())
    }

    /// What inboxes begin with, so that permissions can tell clusters apart.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("_INBOX_{}", self.upper())
    }

    /// All subjects of the log.
    #[must_use]
    pub fn log(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    /// The namespace's token in a log subject; `None` if the subject is not one of ours.
    #[must_use]
    pub fn namespace_token<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(self.prefix.as_str())?;
        rest.strip_prefix(".log.")?.split('.').next()
    }

    /// Casts to a namespace on all nodes.
    #[must_use]
    pub fn cast(&self, namespace: &str) -> String {
        format!("{}.cast.{}", self.prefix, token(namespace))
    }

    /// Requests to a namespace on all nodes.
    #[must_use]
    pub fn ask(&self, namespace: &str) -> String {
        format!("{}.ask.{}", self.prefix, token(namespace))
    }

    /// Requests to any namespace.
    #[must_use]
    pub fn any_ask(&self) -> String {
        format!("{}.ask.*", self.prefix)
    }

    /// Heartbeats.
    #[must_use]
    pub fn node(&self) -> String {
        format!("{}.node", self.prefix)
    }
}

/// A name as one token of a subject: neither `.`, `*`, `>` nor white space, never empty, and bounded.
#[must_use]
pub fn token(name: &str) -> String {
    let mut text = String::new();
    push_token(&mut text, name);
    text
}

/// Writes [`token`] to the end of a text: the subject of each event is made in place.
pub fn push_token(text: &mut String, name: &str) {
    if name.len() <= MAX_RAW_BYTES {
        // The mark keeps the empty name from being an empty token, and raw names apart from hashes.
        text.push('n');
        URL_SAFE_NO_PAD.encode_string(name, text);
    } else {
        text.push('h');
        URL_SAFE_NO_PAD.encode_string(Sha256::digest(name), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_is_checked() {
        for good in ["chat", "a.b", "team-1.chat_2"] {
            assert!(Names::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a.*",
            "a.>",
            "é",
            &"x".repeat(65),
        ] {
            assert!(Names::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stream_name_holds_no_dot() {
        let names = Names::new("team.chat").unwrap();
        assert_eq!(names.stream(), "team_chat_log");
        assert_eq!(names.log(), "team.chat.log.>");
    }

    proptest! {
        #[test]
        fn a_token_is_one_token_whatever_the_name(name in "\\PC{0,200}") {
            let token = token(&name);
            prop_assert!(!token.is_empty() && token.len() <= 140);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }

        #[test]
        fn different_names_have_different_tokens(a in "\\PC{0,120}", b in "\\PC{0,120}") {
            prop_assert_eq!(a == b, token(&a) == token(&b));
        }
    }
}
