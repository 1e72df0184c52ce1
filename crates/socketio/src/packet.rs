//! Socket.IO 5 packets as text: the header in front of the JSON payload, both ways.
//!
//! Specification: Socket.IO protocol, "Packet encoding". Payloads stay text here; [`crate::arguments`] reads them.
//! A violation ends the connection, as in the reference server.

use std::fmt::Write as _;

/// Largest number of binary attachments of one packet, as in the reference parser.
pub(crate) const MAX_ATTACHMENTS: usize = 10;

/// Names that no application event may have.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// True for names that the protocol keeps for itself.
pub(crate) fn is_reserved(event: &str) -> bool {
    RESERVED.contains(&event)
}

/// The packet types of Socket.IO 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'0' => Self::Connect,
            b'1' => Self::Disconnect,
            b'2' => Self::Event,
            b'3' => Self::Ack,
            b'4' => Self::ConnectError,
            b'5' => Self::BinaryEvent,
            b'6' => Self::BinaryAck,
            _ => return None,
        })
    }

    fn digit(self) -> char {
        match self {
            Self::Connect => '0',
            Self::Disconnect => '1',
            Self::Event => '2',
            Self::Ack => '3',
            Self::ConnectError => '4',
            Self::BinaryEvent => '5',
            Self::BinaryAck => '6',
        }
    }

    fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// A packet whose payload is still text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) kind: Kind,
    /// Binary messages that follow this text.
    pub(crate) attachments: usize,
    /// Starts with `/`; `/` itself when the packet names none.
    pub(crate) namespace: &'a str,
    pub(crate) id: Option<u64>,
    /// The JSON text, empty when there is none.
    pub(crate) data: &'a str,
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the packet type is unknown")]
    UnknownType,
    #[error("the number of attachments is missing or zero")]
    AttachmentsMissing,
    #[error("more than {MAX_ATTACHMENTS} attachments")]
    TooManyAttachments,
    #[error("the acknowledgement id is not a number below 2^53")]
    InvalidId,
    #[error("an acknowledgement without id")]
    IdMissing,
    #[error("the payload does not fit the packet type")]
    InvalidPayload,
    #[error("the event name is reserved")]
    ReservedEvent,
    #[error("a client may not send this packet type")]
    NotForClients,
    #[error("text instead of a binary attachment")]
    AttachmentExpected,
    #[error("a binary message that nothing announced")]
    UnexpectedAttachment,
    #[error("an attachment is referenced that does not exist")]
    UnknownAttachment,
}

impl<'a> Packet<'a> {
    /// Reads the header; of the payload only its presence and outer shape are judged.
    pub(crate) fn decode(text: &'a str) -> Result<Self, Violation> {
        let kind = text
            .bytes()
            .next()
            .and_then(Kind::from_byte)
            .ok_or(Violation::UnknownType)?;
        let mut rest = &text[1..];
        let attachments = if kind.is_binary() {
            let (count, tail) = rest.split_once('-').ok_or(Violation::AttachmentsMissing)?;
            rest = tail;
            attachment_count(count)?
        } else {
            0
        };
        let namespace = take_namespace(&mut rest);
        let id = take_id(&mut rest)?;
        let packet = Self {
            kind,
            attachments,
            namespace,
            id,
            data: rest,
        };
        packet.check_shape()?;
        Ok(packet)
    }

    fn check_shape(&self) -> Result<(), Violation> {
        let first = self.data.bytes().next();
        match self.kind {
            Kind::Connect if first.is_none() || first == Some(b'{') => Ok(()),
            Kind::Disconnect if first.is_none() => Ok(()),
            Kind::Event | Kind::BinaryEvent if first == Some(b'[') => Ok(()),
            Kind::Ack | Kind::BinaryAck if self.id.is_none() => Err(Violation::IdMissing),
            Kind::Ack | Kind::BinaryAck if first == Some(b'[') => Ok(()),
            Kind::ConnectError => Err(Violation::NotForClients),
            _ => Err(Violation::InvalidPayload),
        }
    }
}

fn attachment_count(digits: &str) -> Result<usize, Violation> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Violation::AttachmentsMissing);
    }
    match digits.parse::<usize>() {
        Ok(0) => Err(Violation::AttachmentsMissing),
        Ok(count) if count <= MAX_ATTACHMENTS => Ok(count),
        _ => Err(Violation::TooManyAttachments),
    }
}

fn take_namespace<'a>(rest: &mut &'a str) -> &'a str {
    if !rest.starts_with('/') {
        return "/";
    }
    let (namespace, tail) = rest.split_once(',').unwrap_or((rest, ""));
    *rest = tail;
    namespace
}

fn take_id(rest: &mut &str) -> Result<Option<u64>, Violation> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok(None);
    }
    let id: u64 = rest[..digits].parse().map_err(|_| Violation::InvalidId)?;
    if id >= 1 << 53 {
        return Err(Violation::InvalidId);
    }
    *rest = &rest[digits..];
    Ok(Some(id))
}

/// Writes the header of an outgoing packet; the payload follows it.
pub(crate) fn write_header(
    out: &mut String,
    kind: Kind,
    attachments: usize,
    namespace: &str,
    id: Option<u64>,
) {
    out.push(kind.digit());
    if kind.is_binary() {
        let _infallible = write!(out, "{attachments}-");
    }
    if namespace != "/" {
        out.push_str(namespace);
        out.push(',');
    }
    if let Some(id) = id {
        let _infallible = write!(out, "{id}");
    }
}

/// A whole packet without attachments, as text.
pub(crate) fn encode(kind: Kind, namespace: &str, id: Option<u64>, payload: &str) -> String {
    let mut out = String::with_capacity(payload.len() + namespace.len() + 24);
    write_header(&mut out, kind, 0, namespace, id);
    out.push_str(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_header_is_read() {
        let packet = Packet::decode("52-/chat,17[\"a\",{}]").unwrap();
        assert_eq!(packet.kind, Kind::BinaryEvent);
        assert_eq!(packet.attachments, 2);
        assert_eq!(packet.namespace, "/chat");
        assert_eq!(packet.id, Some(17));
        assert_eq!(packet.data, "[\"a\",{}]");
    }

    #[test]
    fn violations_are_named() {
        for (text, violation) in [
            ("", Violation::UnknownType),
            ("9", Violation::UnknownType),
            ("abc", Violation::UnknownType),
            ("2{}", Violation::InvalidPayload),
            ("2", Violation::InvalidPayload),
            ("3[]", Violation::IdMissing),
            ("31{}", Violation::InvalidPayload),
            ("5[\"a\"]", Violation::AttachmentsMissing),
            ("5x-[\"a\"]", Violation::AttachmentsMissing),
            ("50-[\"a\"]", Violation::AttachmentsMissing),
            ("511-[\"a\"]", Violation::TooManyAttachments),
            ("599999999999999999999-[]", Violation::TooManyAttachments),
            ("0[]", Violation::InvalidPayload),
            ("1[]", Violation::InvalidPayload),
            ("4{}", Violation::NotForClients),
            ("29007199254740992[\"a\"]", Violation::InvalidId),
        ] {
            assert_eq!(Packet::decode(text), Err(violation), "{text}");
        }
    }

    #[test]
    fn a_namespace_may_end_the_packet_and_keeps_its_query() {
        assert_eq!(Packet::decode("0/a?x=1,{}").unwrap().namespace, "/a?x=1");
        assert_eq!(Packet::decode("1/a").unwrap().namespace, "/a");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            prop_assert!(Packet::decode(&text).map_or(true, |packet| packet.attachments <= MAX_ATTACHMENTS));
        }

        #[test]
        fn what_is_written_is_read(id in proptest::option::of(0u64..1 << 53), path in "/[a-z0-9/-]{0,12}") {
            let text = encode(Kind::Event, &path, id, "[\"e\",1]");
            let packet = Packet::decode(&text).unwrap();
            prop_assert_eq!(packet.namespace, path.as_str());
            prop_assert_eq!(packet.id, id);
            prop_assert_eq!(packet.data, "[\"e\",1]");
        }
    }
}
