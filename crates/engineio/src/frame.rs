//! One outgoing packet, encoded once for both transports and for every receiver.
//!
//! The buffer holds `[WebSocket header][packet]`. A WebSocket sends it whole; long-polling skips the header, whose
//! length the header itself tells, and writes binary packets as base64.

use std::fmt;

use bytes::{Buf, Bytes};

/// The longest header of an unmasked frame: two bytes and a 64-bit length.
const HEADER_ROOM: usize = 10;
const FIN_TEXT: u8 = 0x81;
const FIN_BINARY: u8 = 0x82;
const MESSAGE: u8 = b'4';

/// One encoded message. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// A text message.
    #[must_use]
    pub fn text(payload: &str) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_ROOM + 1 + payload.len());
        buffer.extend_from_slice(&[0; HEADER_ROOM]);
        buffer.push(MESSAGE);
        buffer.extend_from_slice(payload.as_bytes());
        Self::seal(buffer, FIN_TEXT)
    }

    /// A text message that `write` appends to the buffer it is given. It must append UTF-8 and nothing else.
    #[must_use]
    pub fn from_text_writer(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut buffer = Vec::with_capacity(128);
        buffer.extend_from_slice(&[0; HEADER_ROOM]);
        buffer.push(MESSAGE);
        write(&mut buffer);
        debug_assert!(
            std::str::from_utf8(&buffer[HEADER_ROOM..]).is_ok(),
            "a text frame must be UTF-8"
        );
        Self::seal(buffer, FIN_TEXT)
    }

    /// A binary message. The bytes are copied once, behind their header.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the contract hands the bytes over"
    )]
    pub fn binary(payload: Bytes) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_ROOM + payload.len());
        buffer.extend_from_slice(&[0; HEADER_ROOM]);
        buffer.extend_from_slice(&payload);
        Self::seal(buffer, FIN_BINARY)
    }

    /// A packet other than a message, with its type as first character.
    pub(crate) fn packet(text: &str) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_ROOM + text.len());
        buffer.extend_from_slice(&[0; HEADER_ROOM]);
        buffer.extend_from_slice(text.as_bytes());
        Self::seal(buffer, FIN_TEXT)
    }

    /// The ping packet.
    pub(crate) fn ping() -> Self {
        Self(Bytes::from_static(&[FIN_TEXT, 1, b'2']))
    }

    /// A WebSocket control frame, ready for the wire. Only for queues that a WebSocket drains.
    pub(crate) fn control(wire: Bytes) -> Self {
        Self(wire)
    }

    /// Puts the header right before the packet, which starts at `HEADER_ROOM`.
    fn seal(mut buffer: Vec<u8>, first: u8) -> Self {
        let length = buffer.len() - HEADER_ROOM;
        let start = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ 0..=125), _) => {
                buffer[HEADER_ROOM - 1] = length;
                HEADER_ROOM - 2
            }
            (_, Ok(length)) => {
                buffer[HEADER_ROOM - 2..HEADER_ROOM].copy_from_slice(&length.to_be_bytes());
                buffer[HEADER_ROOM - 3] = 126;
                HEADER_ROOM - 4
            }
            _ => {
                buffer[2..HEADER_ROOM].copy_from_slice(&(length as u64).to_be_bytes());
                buffer[1] = 127;
                0
            }
        };
        buffer[start] = first;
        let mut bytes = Bytes::from(buffer);
        bytes.advance(start);
        Self(bytes)
    }

    /// The length on a WebSocket, which is what the send queue counts.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether this is a binary message.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.0.first() == Some(&FIN_BINARY)
    }

    /// The packet without its WebSocket header: type and payload of a text packet, the bare bytes of a binary one.
    #[must_use]
    pub fn packet_bytes(&self) -> &[u8] {
        let header = match self.0[1] {
            127 => 10,
            126 => 4,
            _ => 2,
        };
        &self.0[header..]
    }

    /// The bytes that a WebSocket sends.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the first `count` bytes, which are sent. What remains is good for the same WebSocket only.
    pub(crate) fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

/// Only kind and length: messages do not belong into logs.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_binary() { "binary" } else { "text" };
        write!(f, "Frame({kind}, {} bytes)", self.len_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_states_the_length_in_the_shortest_form() {
        for (length, header) in [
            (0, 2),
            (124, 2),
            (125, 4),
            (65_534, 4),
            (65_535, 10),
            (70_000, 10),
        ] {
            let payload = "x".repeat(length);
            let frame = Frame::text(&payload);
            assert_eq!(frame.len_bytes(), header + 1 + length);
            assert_eq!(frame.packet_bytes()[0], b'4');
            assert_eq!(&frame.packet_bytes()[1..], payload.as_bytes());
        }
    }

    #[test]
    fn text_and_text_writer_make_the_same_frame() {
        let long = "grüße".repeat(100);
        for text in ["", "hello", &long] {
            let written =
                Frame::from_text_writer(|buffer| buffer.extend_from_slice(text.as_bytes()));
            assert_eq!(written.wire(), Frame::text(text).wire());
        }
    }

    #[test]
    fn a_binary_frame_carries_the_bare_bytes() {
        let frame = Frame::binary(Bytes::from_static(&[1, 2, 3]));
        assert_eq!(frame.wire(), [0x82, 3, 1, 2, 3]);
        assert!(frame.is_binary());
    }

    #[test]
    fn debug_output_does_not_reveal_the_message() {
        assert!(!format!("{:?}", Frame::text("secret")).contains("secret"));
    }
}
