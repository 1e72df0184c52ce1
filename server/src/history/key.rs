//! Message ids: what makes two sendings the same message (`docs/protocol.md`, "Events from the client").

use rand::RngExt;
use sha2::{Digest, Sha256};

/// An anonymous client's id of fewer characters is likely to be a counter, and somebody else's too.
const STANDALONE_CHARACTERS: usize = 16;

/// A message with an id of its sender's choice.
#[derive(Clone, Copy, Debug)]
pub struct MessageId<'a> {
    /// Namespace of the log.
    pub namespace: &'a str,
    /// The room; empty for the lobby.
    pub room: &'a str,
    /// The author's authenticated subject; `None` if anonymous.
    pub subject: Option<&'a str>,
    /// The author's session: what stays the same when the connection is recovered.
    pub session: &'a str,
    /// The id that the client chose.
    pub client_id: &'a str,
    /// What was said.
    pub content: &'a str,
}

impl MessageId<'_> {
    /// The key under which the message is stored. Equal keys mean the same message.
    pub fn key(&self) -> [u8; 16] {
        let is_short = self
            .client_id
            .chars()
            .nth(STANDALONE_CHARACTERS - 1)
            .is_none();
        let scope = (self.subject.is_none() && is_short).then_some(self.session);
        let mut hash = Sha256::new();
        for field in [
            Some(self.namespace),
            Some(self.room),
            self.subject,
            scope,
            Some(self.client_id),
            Some(self.content),
        ] {
            // The length in front keeps ("ab", "c") and ("a", "bc") apart, the mark absent and empty.
            let text = field.unwrap_or_default();
            hash.update([u8::from(field.is_some())]);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (key, _) = digest.split_first_chunk().expect("32 bytes hold 16");
        *key
    }
}

/// The key of a message without an id; made once, and used again for the server's own retries.
pub fn random_key() -> [u8; 16] {
    rand::rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: MessageId<'_> = MessageId {
        namespace: "/",
        room: "r",
        subject: None,
        session: "pid-1",
        client_id: "a-rather-long-client-id",
        content: "hello",
    };

    #[test]
    fn every_field_counts() {
        let keys = [
            BASE,
            MessageId {
                namespace: "/x",
                ..BASE
            },
            MessageId { room: "", ..BASE },
            MessageId {
                subject: Some(""),
                ..BASE
            },
            MessageId {
                subject: Some("ann"),
                ..BASE
            },
            MessageId {
                client_id: "a-rather-long-client-ie",
                ..BASE
            },
            MessageId {
                content: "hello!",
                ..BASE
            },
        ]
        .map(|id| id.key());
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(
            BASE.key(),
            MessageId {
                session: "pid-2",
                ..BASE
            }
            .key()
        );
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let one = MessageId {
            namespace: "/a",
            room: "b",
            ..BASE
        };
        let other = MessageId {
            namespace: "/",
            room: "ab",
            ..BASE
        };
        assert_ne!(one.key(), other.key());
    }

    #[test]
    fn short_anonymous_ids_belong_to_their_session() {
        let short = MessageId {
            client_id: "undefined-0",
            ..BASE
        };
        assert_eq!(short.key(), short.key());
        assert_ne!(
            short.key(),
            MessageId {
                session: "pid-2",
                ..short
            }
            .key()
        );
        let known = MessageId {
            subject: Some("ann"),
            ..short
        };
        assert_eq!(
            known.key(),
            MessageId {
                session: "pid-2",
                ..known
            }
            .key()
        );
        let fifteen = MessageId {
            client_id: "123456789012345",
            ..BASE
        };
        assert_ne!(
            fifteen.key(),
            MessageId {
                session: "pid-2",
                ..fifteen
            }
            .key()
        );
        let sixteen = MessageId {
            client_id: "1234567890123456",
            ..BASE
        };
        assert_eq!(
            sixteen.key(),
            MessageId {
                session: "pid-2",
                ..sixteen
            }
            .key()
        );
    }
}
