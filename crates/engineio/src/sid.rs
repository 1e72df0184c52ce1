//! Session ids: 120 random bits, written as 20 characters of base64url.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const LENGTH: usize = 15;
pub(crate) const TEXT_LENGTH: usize = 20;

/// The id of a session. Whoever knows it may speak for the session, so it is drawn from a cryptographic generator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sid([u8; LENGTH]);

impl Sid {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads the 20 characters that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_LENGTH {
            return None;
        }
        let mut id = [0; LENGTH];
        let written = URL_SAFE_NO_PAD.decode_slice(text, &mut id).ok()?;
        (written == LENGTH).then_some(Self(id))
    }

    /// Which of `count` shards the id belongs to.
    pub(crate) fn shard(&self, count: usize) -> usize {
        usize::from(self.0[LENGTH - 1]) % count
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LENGTH];
        let length = URL_SAFE_NO_PAD
            .encode_slice(self.0, &mut text)
            .map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

/// Only the first characters: the id is a secret, and the beginning suffices to match log lines.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "Sid({}..)", &text[..6])
    }
}

impl Hash for Sid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        state.write_u64(u64::from_ne_bytes(first));
    }
}

/// Uses the id's own random bits as the hash. Safe against chosen keys, for only ids drawn here are ever stored.
#[derive(Default)]
pub(crate) struct SidHasher(u64);

impl Hasher for SidHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Builds [`SidHasher`]s.
pub(crate) type BuildSidHasher = BuildHasherDefault<SidHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text() {
        for _ in 0..1000 {
            let sid = Sid::random();
            let text = sid.to_string();
            assert_eq!(text.len(), TEXT_LENGTH);
            assert_eq!(Sid::parse(&text), Some(sid));
        }
    }

    #[test]
    fn other_text_is_no_id() {
        for text in [
            "",
            "abc",
            "!!!!!!!!!!!!!!!!!!!!",
            "aaaaaaaaaaaaaaaaaaaaa",
            "ééééééééééaaaa",
        ] {
            assert_eq!(Sid::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_output_does_not_reveal_the_id() {
        let sid = Sid::random();
        assert!(!format!("{sid:?}").contains(&sid.to_string()));
    }
}
