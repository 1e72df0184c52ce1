//! Several events in one message of the log, each in its own form.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | [`MARK`], which is no version of a format |
//! | 1 | the number of events, 2 to 64 |
//! | for each: 4 | its length, the highest byte first |
//! | its length | the event, with the version of its format |
//!
//! What the first byte does not mark is one event. Events are told apart without being read: on most nodes nobody asks what
//! they say.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::position::{PLACES, position_of};

/// The first byte of a message of several events.
const MARK: u8 = 0x80;
/// What each event takes beside itself, and the message once.
pub(crate) const OVERHEAD: usize = 4;

/// One message of these events: two at least, and not more than [`PLACES`].
pub(crate) fn bundle<'a>(events: impl ExactSizeIterator<Item = &'a Bytes> + Clone) -> Bytes {
    debug_assert!((2..=PLACES as usize).contains(&events.len()));
    let bytes = events.clone().map(|event| OVERHEAD + event.len());
    let mut message = BytesMut::with_capacity(2 + bytes.sum::<usize>());
    message.put_u8(MARK);
    message.put_u8(u8::try_from(events.len()).unwrap_or_default());
    for event in events {
        message.put_u32(u32::try_from(event.len()).unwrap_or_default());
        message.put_slice(event);
    }
    message.freeze()
}

/// The events of a message with their positions.
pub(crate) struct Events {
    rest: Bytes,
    sequence: u64,
    index: usize,
    count: usize,
}

impl Events {
    /// A message that says that it holds several, and does not, is one event that nobody can read.
    pub(crate) fn of(sequence: u64, message: Bytes) -> Self {
        let (count, rest) = match count_of(&message) {
            None => (1, Bytes::new()),
            Some(1) => (1, message),
            Some(count) => (count, message.slice(2..)),
        };
        Self {
            rest,
            sequence,
            index: 0,
            count,
        }
    }
}

impl Iterator for Events {
    type Item = (u64, Bytes);

    fn next(&mut self) -> Option<(u64, Bytes)> {
        if self.index == self.count {
            return None;
        }
        let position = position_of(self.sequence, self.index, self.count);
        self.index += 1;
        let event = if self.count == 1 {
            std::mem::take(&mut self.rest)
        } else {
            // All lengths were looked at before.
            let length = self.rest.get_u32() as usize;
            self.rest.split_to(length)
        };
        Some((position, event))
    }
}

/// How many events a message holds; `None` if it is not what it says.
fn count_of(message: &[u8]) -> Option<usize> {
    let Some((&MARK, rest)) = message.split_first() else {
        return Some(1);
    };
    let (&count, mut rest) = rest.split_first()?;
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk()?;
        rest = behind.get(u32::from_be_bytes(*length) as usize..)?;
    }
    let is_one = (2..=PLACES).contains(&u64::from(count)) && rest.is_empty();
    is_one.then_some(usize::from(count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::position::last_of;

    fn read(message: Bytes) -> Vec<(u64, Bytes)> {
        Events::of(7, message).collect()
    }

    #[test]
    fn no_version_is_taken_for_a_bundle() {
        assert!(!codec::is_known(&[MARK]));
        let event = codec::encode(&7u8).unwrap();
        assert_eq!(read(event.clone()), [(last_of(7), event)]);
    }

    #[test]
    fn its_bytes_are_these() {
        let events = [Bytes::from_static(b"\x01a"), Bytes::from_static(b"\x02bc")];
        assert_eq!(
            *bundle(events.iter()),
            *b"\x80\x02\0\0\0\x02\x01a\0\0\0\x03\x02bc"
        );
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_told_apart(
            events in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 2..=64),
        ) {
            let events: Vec<Bytes> = events.into_iter().map(Bytes::from).collect();
            let read = read(bundle(events.iter()));
            let positions: Vec<u64> = read.iter().map(|(position, _)| *position).collect();
            prop_assert!(positions.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(positions.last(), Some(&last_of(7)));
            let told: Vec<Bytes> = read.into_iter().map(|(_, event)| event).collect();
            prop_assert_eq!(told, events);
        }

        #[test]
        fn any_bytes_are_events_or_one_that_nobody_reads(
            count in any::<u8>(),
            rest in proptest::collection::vec(0u8..9, 0..60),
        ) {
            let message = [&[MARK, count][..], &rest].concat();
            let whole = count_of(&message);
            let read = read(message.into());
            match whole {
                Some(count) => prop_assert_eq!(read.len(), count),
                None => prop_assert_eq!(read, [(last_of(7), Bytes::new())]),
            }
        }

        #[test]
        fn a_part_of_a_bundle_is_none(cut in 1usize..15) {
            let events = [Bytes::from_static(b"\x01ab"), Bytes::from_static(b"\x01c")];
            let whole = bundle(events.iter());
            prop_assert!(cut < whole.len());
            prop_assert_eq!(count_of(&whole[..cut]), None);
        }
    }
}
