//! Long-polling payloads: packets joined by `\x1e`, binary ones as `b` and base64.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::frame::Frame;
use crate::message::{Message, Text};
use crate::packet::Packet;
use crate::session::SendQueue;

const SEPARATOR: u8 = 0x1e;

/// Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A payload being written.
#[derive(Default)]
pub(crate) struct Payload {
    text: Vec<u8>,
    packets: u64,
}

impl Payload {
    /// Takes frames off the queue as long as they fit into `limit` bytes, but at least one.
    pub(crate) fn take(queue: &mut SendQueue, limit: usize) -> Self {
        let mut payload = Self::default();
        while let Some(frame) =
            queue.pop_if(|frame| payload.packets == 0 || payload.len_with(frame) <= limit)
        {
            payload.push(&frame);
        }
        payload
    }

    /// A payload of one packet of few bytes.
    pub(crate) fn of(packet: &str) -> Self {
        Self {
            text: packet.into(),
            packets: 1,
        }
    }

    pub(crate) fn push(&mut self, frame: &Frame) {
        self.separate();
        if frame.is_binary() {
            self.text.push(b'b');
            let start = self.text.len();
            self.text.resize(start + base64_len(frame), 0);
            let written = BASE64.encode_slice(frame.packet_bytes(), &mut self.text[start..]);
            debug_assert!(written.is_ok(), "the room is made to measure");
        } else {
            self.text.extend_from_slice(frame.packet_bytes());
        }
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.text)
    }

    fn separate(&mut self) {
        if self.packets > 0 {
            self.text.push(SEPARATOR);
        }
        self.packets += 1;
    }

    fn len_with(&self, frame: &Frame) -> usize {
        let encoded = if frame.is_binary() {
            1 + base64_len(frame)
        } else {
            frame.packet_bytes().len()
        };
        self.text.len() + usize::from(self.packets > 0) + encoded
    }
}

fn base64_len(frame: &Frame) -> usize {
    frame.packet_bytes().len().div_ceil(3) * 4
}

/// The packets of a POST body, in order; `None` in place of one that cannot be read.
pub(crate) fn packets(body: &Bytes) -> impl Iterator<Item = Option<Packet>> + '_ {
    body.split(|byte| *byte == SEPARATOR)
        .map(|record| match record.split_first() {
            Some((b'b', base64)) => Some(Packet::Message(Message::Binary(
                BASE64.decode(base64).ok()?.into(),
            ))),
            _ => Packet::parse(Text::from_bytes(body.slice_ref(record))?),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(frames: &[Frame]) -> SendQueue {
        let mut queue = SendQueue::default();
        for frame in frames {
            queue.push(frame.clone());
        }
        queue
    }

    fn binary(bytes: &'static [u8]) -> Frame {
        Frame::binary(Bytes::from_static(bytes))
    }

    #[test]
    fn packets_are_joined_and_binary_is_base64() {
        let mut queue = queue(&[Frame::text("hello"), binary(&[1, 2, 3, 4]), Frame::ping()]);
        let payload = Payload::take(&mut queue, 1000);
        assert_eq!(payload.packets(), 3);
        assert_eq!(payload.into_bytes(), "4hello\x1ebAQIDBA==\x1e2");
        assert!(queue.is_empty());
    }

    #[test]
    fn a_payload_stops_at_the_limit_but_is_never_empty() {
        let mut queue = queue(&[
            Frame::text("0123456789"),
            Frame::text("a"),
            Frame::text("b"),
            binary(&[0; 9]),
        ]);
        let mut next = |limit| Payload::take(&mut queue, limit).into_bytes();
        assert_eq!(next(5), "40123456789");
        assert_eq!(next(5), "4a\x1e4b");
        assert_eq!(next(5), "bAAAAAAAAAAAA");
        assert_eq!(next(5), "");
    }

    #[test]
    fn unpadded_base64_is_read() {
        let read: Vec<_> = packets(&Bytes::from_static(b"bAQIDBA")).collect();
        assert_eq!(
            read,
            [Some(Packet::Message(Message::Binary(Bytes::from_static(
                &[1, 2, 3, 4]
            ))))]
        );
    }

    #[test]
    fn what_is_no_packet_is_told() {
        for body in ["", "abc", "4a\x1e", "b!", "\x1e4a"] {
            assert!(
                packets(&Bytes::from(body)).any(|packet| packet.is_none()),
                "{body:?}"
            );
        }
        assert!(packets(&Bytes::from_static(b"4\xff")).any(|packet| packet.is_none()));
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            "[^\x1e]*".prop_map(|text| Message::Text(text.into())),
            proptest::collection::vec(any::<u8>(), 0..200)
                .prop_map(|bytes| Message::Binary(bytes.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(messages in proptest::collection::vec(any_message(), 1..20)) {
            let frames: Vec<_> = messages
                .iter()
                .map(|message| match message {
                    Message::Text(text) => Frame::text(text),
                    Message::Binary(bytes) => Frame::binary(bytes.clone()),
                })
                .collect();
            let payload = Payload::take(&mut queue(&frames), usize::MAX).into_bytes();
            let read: Vec<_> = packets(&payload).collect();
            let expected: Vec<_> = messages.into_iter().map(|message| Some(Packet::Message(message))).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn slices_together_are_the_whole(lengths in proptest::collection::vec(0_usize..50, 1..40), limit in 1_usize..200) {
            let frames: Vec<_> = lengths.iter().map(|length| Frame::text(&"x".repeat(*length))).collect();
            let mut sliced = queue(&frames);
            let mut parts = Vec::new();
            while !sliced.is_empty() {
                let part = Payload::take(&mut sliced, limit);
                prop_assert!(part.packets() == 1 || part.text.len() <= limit);
                parts.push(part.into_bytes());
            }
            let whole = Payload::take(&mut queue(&frames), usize::MAX).into_bytes();
            prop_assert_eq!(parts.join(&SEPARATOR), whole.to_vec());
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let body = Bytes::from(body);
            prop_assert!(packets(&body).count() >= 1);
        }
    }
}
