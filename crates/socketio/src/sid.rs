//! Ids that clients see: socket ids, and the private ids that recover a session.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::outside;

const SID_BYTES: usize = 15;
const SID_CHARS: usize = 20;

/// A socket's public id: 20 characters of base64url, 120 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sid([u8; SID_BYTES]);

impl Sid {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(outside::random())
    }

    /// Reads an id; `None` if the text is not the spelling of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != SID_CHARS {
            return None;
        }
        let mut bytes = [0; SID_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (read == SID_BYTES).then_some(Self(bytes))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; SID_CHARS];
        let written = URL_SAFE_NO_PAD
            .encode_slice(self.0, &mut text)
            .map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..written]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The private id that recovers a session. Whoever knows it can claim the session, so it is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pid([u8; SID_BYTES]);

impl Pid {
    pub(crate) fn random() -> Self {
        Self(outside::random())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Sid::parse(text).map(|sid| Self(sid.0))
    }

    /// What the client is told.
    pub(crate) fn reveal(self) -> String {
        Sid(self.0).to_string()
    }

    /// The key under which the session is stored: a dump of the store gives no session away.
    pub(crate) fn key(self) -> SessionKey {
        let digest = Sha256::digest(self.0);
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        SessionKey(key)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pid(…)")
    }
}

/// Hash of a `pid`: names a session in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    /// A random key, of which nobody knows a `pid`: for whoever tests a store.
    #[must_use]
    pub fn random() -> Self {
        Self(outside::random())
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one node for as long as its process runs; another start is another id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(std::sync::Arc<str>);

impl NodeId {
    /// A node with this name; the name must be unique among the nodes that live.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_survives_its_text() {
        let sid = Sid::random();
        assert_eq!(sid.to_string().len(), SID_CHARS);
        assert_eq!(Sid::parse(&sid.to_string()), Some(sid));
        assert_eq!(Sid::parse("short"), None);
        assert_eq!(Sid::parse("********************"), None);
    }

    #[test]
    fn a_pid_is_not_printed() {
        let pid = Pid::random();
        assert!(!format!("{pid:?}").contains(&pid.reveal()));
    }
}
