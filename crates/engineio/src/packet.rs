//! Engine.IO packets as they arrive: a type character and its content.

use crate::message::{Message, Text};

/// A packet from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Message(Message),
    Ping,
    Pong,
    Close,
    /// Open, upgrade and noop mean nothing here; the reference implementation ignores them too.
    Ignored,
}

impl Packet {
    /// Reads a text packet; `None` if it is none.
    pub(crate) fn parse(text: Text) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'4' => Self::Message(Message::Text(text.without_first())),
            b'3' => Self::Pong,
            b'2' => Self::Ping,
            b'1' => Self::Close,
            b'0' | b'5' | b'6' => Self::Ignored,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_is_the_type() {
        let parse = |text: &str| Packet::parse(text.into());
        assert_eq!(
            parse("4héllo"),
            Some(Packet::Message(Message::Text("héllo".into())))
        );
        assert_eq!(parse("4"), Some(Packet::Message(Message::Text("".into()))));
        assert_eq!(parse("2"), Some(Packet::Ping));
        assert_eq!(parse("3"), Some(Packet::Pong));
        assert_eq!(parse("1"), Some(Packet::Close));
        assert_eq!(parse("6"), Some(Packet::Ignored));
    }

    #[test]
    fn other_text_is_no_packet() {
        for text in ["", "abc", "7", "é", "b"] {
            assert_eq!(Packet::parse(text.into()), None, "{text:?}");
        }
    }
}
