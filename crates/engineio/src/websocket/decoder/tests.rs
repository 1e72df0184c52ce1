//! The decoder against frames made by hand, by another library, and at random.

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as ForeignFrame, FrameHeader};

use super::*;

const MOST: usize = 100_000;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        length @ 0..=125 => wire.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    wire.extend_from_slice(&mask);
    wire.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    wire
}

fn decode_all(pieces: &[&[u8]]) -> Result<Vec<Event>, Violation> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = decoder.decode(&mut input, MOST)? {
            events.push(event);
        }
        assert!(input.is_empty());
    }
    Ok(events)
}

fn text(content: &str) -> Event {
    Event::Text(content.into())
}

#[test]
fn a_whole_message_is_read() {
    assert_eq!(
        decode_all(&[&frame(0x81, "4grüße".as_bytes())]),
        Ok(vec![text("4grüße")])
    );
    assert_eq!(
        decode_all(&[&frame(0x82, &[0, 255])]),
        Ok(vec![Event::Binary(Bytes::from_static(&[0, 255]))])
    );
    assert_eq!(decode_all(&[&frame(0x81, b"")]), Ok(vec![text("")]));
}

#[test]
fn fragments_are_joined_with_control_frames_in_between() {
    let wire = [
        frame(0x01, "gr\u{fc}".as_bytes()[..3].into()),
        frame(0x89, b"x"),
        frame(0x00, &"\u{fc}".as_bytes()[1..]),
        frame(0x80, b"n"),
    ]
    .concat();
    assert_eq!(
        decode_all(&[&wire]),
        Ok(vec![Event::Ping(Bytes::from_static(b"x")), text("grün")])
    );
}

#[test]
fn broken_frames_are_refused() {
    let unmasked = [0x81, 1, b'4'];
    assert_eq!(decode_all(&[&unmasked]), Err(Violation::Protocol));
    for (name, wire) in [
        ("a reserved bit", frame(0xc1, b"4")),
        ("a reserved opcode", frame(0x83, b"4")),
        ("a fragmented ping", frame(0x09, b"")),
        ("a long ping", frame(0x89, &[0; 126])),
        ("a continuation of nothing", frame(0x80, b"4")),
        (
            "a message within a message",
            [frame(0x01, b"4"), frame(0x81, b"4")].concat(),
        ),
        ("a close of one byte", frame(0x88, &[3])),
        (
            "a close with a reserved code",
            frame(0x88, &1005_u16.to_be_bytes()),
        ),
    ] {
        assert_eq!(decode_all(&[&wire]), Err(Violation::Protocol), "{name}");
    }
    assert_eq!(
        decode_all(&[&frame(0x81, &[0xff])]),
        Err(Violation::InvalidText)
    );
    assert_eq!(
        decode_all(&[&frame(0x88, &[3, 232, 0xff])]),
        Err(Violation::InvalidText)
    );
}

#[test]
fn a_message_beyond_the_limit_is_refused_when_it_is_announced() {
    let announced = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    assert_eq!(decode_all(&[&announced]), Err(Violation::TooBig));
    let fragments = [frame(0x02, &vec![0; MOST - 1]), frame(0x80, &[0; 2])].concat();
    assert_eq!(decode_all(&[&fragments]), Err(Violation::TooBig));
    assert_eq!(
        decode_all(&[&frame(0x82, &vec![0; MOST])]).map(|events| events.len()),
        Ok(1)
    );
}

#[test]
fn a_close_is_answered_with_its_code() {
    assert_eq!(
        decode_all(&[&frame(0x88, b"")]),
        Ok(vec![Event::Close(1000)])
    );
    assert_eq!(
        decode_all(&[&frame(0x88, &4000_u16.to_be_bytes())]),
        Ok(vec![Event::Close(4000)])
    );
}

#[test]
fn memory_follows_what_arrived_not_what_was_announced() {
    let mut decoder = Decoder::default();
    let whole = frame(0x82, &vec![7; MOST]);
    assert_eq!(decoder.decode(&mut &whole[..100], MOST), Ok(None));
    let partial = decoder.partial.as_ref().expect("the frame is unfinished");
    assert!(
        partial.message.capacity() < 200,
        "{}",
        partial.message.capacity()
    );
}

#[test]
fn between_messages_nothing_is_kept() {
    let mut decoder = Decoder::default();
    for piece in frame(0x81, b"4hello").chunks(3) {
        let mut input = piece;
        while decoder.decode(&mut input, MOST).unwrap().is_some() {}
    }
    assert!(decoder.partial.is_none());
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
}

fn any_frames() -> impl Strategy<Value = (Vec<u8>, Vec<Event>)> {
    let message = prop_oneof![
        "\\PC{0,200}".prop_map(|content| (frame(0x81, content.as_bytes()), text(&content))),
        proptest::collection::vec(any::<u8>(), 0..400)
            .prop_map(|content| (frame(0x82, &content), Event::Binary(content.into()))),
        proptest::collection::vec(any::<u8>(), 0..125)
            .prop_map(|content| (frame(0x89, &content), Event::Ping(content.into()))),
        (proptest::collection::vec(any::<u8>(), 0..400), 1_usize..40).prop_map(
            |(content, size)| {
                let mut wire = frame(0x02, b"");
                for piece in content.chunks(size) {
                    wire.extend(frame(0x00, piece));
                }
                wire.extend(frame(0x80, b""));
                (wire, Event::Binary(content.into()))
            }
        ),
    ];
    proptest::collection::vec(message, 1..8).prop_map(|frames| {
        let (wires, events): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        (wires.concat(), events)
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events((wire, expected) in any_frames(), size in 1_usize..50) {
        let pieces: Vec<_> = wire.chunks(size).collect();
        prop_assert_eq!(decode_all(&pieces), Ok(expected));
    }

    #[test]
    fn frames_of_another_library_are_read(content in proptest::collection::vec(any::<u8>(), 0..70_000), mask: [u8; 4]) {
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), mask: Some(mask), ..FrameHeader::default() };
        let mut wire = Vec::new();
        ForeignFrame::from_payload(header, content.clone().into()).format(&mut wire).unwrap();
        prop_assert_eq!(decode_all(&[&wire]), Ok(vec![Event::Binary(content.into())]));
    }

    #[test]
    fn arbitrary_bytes_end_the_same_way_however_split(bytes in proptest::collection::vec(any::<u8>(), 0..600), size in 1_usize..20) {
        let whole = decode_all(&[&bytes]);
        let pieces: Vec<_> = bytes.chunks(size).collect();
        prop_assert_eq!(decode_all(&pieces), whole);
    }
}
