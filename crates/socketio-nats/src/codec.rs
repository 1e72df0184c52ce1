//! The form of everything that this crate puts on the broker: one byte for the version, then MessagePack. In the log
//! several of them may share a message (`bundle`).
//!
//! | version | a structure is | written by | read by |
//! | --- | --- | --- | --- |
//! | 1 | an array: fields by their place | this release | this one and the next |
//! | 2 | a map: fields by their name; one that is not known is passed over, a missing one has its default | the next release | both |
//!
//! A version is read by one release before the next one writes it: any two neighbours can be mixed, and exchanged for each
//! other in either direction, whatever they left in the log and in the buckets (ADR 19). What is newer, older or broken is
//! [`Error`]: it is counted and dropped by whoever read it, and never believed in part.
//!
//! The bytes of each format in each version are in `tests/formats`.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod bundle;

pub(crate) use bundle::{Events, OVERHEAD, bundle};

/// The version that this release writes.
pub const VERSION: u8 = 1;
/// The version that the next release writes, and this one reads already.
pub const NEXT: u8 = 2;

static WRITTEN: AtomicU8 = AtomicU8::new(VERSION);

/// Bytes that this node cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Written by a release that this one does not know, or by somebody else.
    #[error("format version {0} is not known here")]
    Version(u8),
    /// There is not even a version.
    #[error("nothing to read")]
    Empty,
    /// Not what the version promises.
    #[error("read what format version {0} promises")]
    Malformed(u8, #[source] rmp_serde::decode::Error),
}

/// From here on this process writes as the next release does, with one field more in each structure of several. Only for
/// the program that tests upgrades with.
#[doc(hidden)]
pub fn write_as_the_next_release() {
    WRITTEN.store(NEXT, Ordering::Relaxed);
}

/// Writes a value.
///
/// # Errors
/// When the value's own `Serialize` fails.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, rmp_serde::encode::Error> {
    encode_as(WRITTEN.load(Ordering::Relaxed), value)
}

fn encode_as<T: Serialize + ?Sized>(
    version: u8,
    value: &T,
) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut bytes = vec![version];
    if version == VERSION {
        rmp_serde::encode::write(&mut bytes, value)?;
    } else {
        rmp_serde::encode::write_named(&mut bytes, value)?;
        add_field(&mut bytes);
    }
    Ok(bytes.into())
}

/// A field that this release does not know. MessagePack's first byte holds the number of up to 15 fields; for more two bytes
/// follow it. A map of one is an enumeration's variant, which can have no second.
fn add_field(bytes: &mut Vec<u8>) {
    match bytes.get(1) {
        Some(head @ 0x82..=0x8e) => bytes[1] = head + 1,
        Some(0x8f) => drop(bytes.splice(1..2, [0xde, 0, 16])),
        _ => return,
    }
    bytes.extend_from_slice(b"\xa4more\xc3");
}

/// Whether the version is one that this release reads.
pub(crate) fn is_known(bytes: &[u8]) -> bool {
    matches!(bytes, [VERSION | NEXT, ..])
}

/// Reads a value.
///
/// # Errors
/// [`Error`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        // Maps and arrays tell themselves apart.
        Some((&version @ (VERSION | NEXT), rest)) => {
            rmp_serde::from_slice(rest).map_err(|error| Error::Malformed(version, error))
        }
        Some((&version, _)) => Err(Error::Version(version)),
    }
}

#[cfg(test)]
mod formats;

#[cfg(test)]
mod tests {
    use super::*;
    use chatcluster_socketio::Event;
    use chatcluster_socketio::log::{Envelope, Target};
    use proptest::prelude::*;

    #[test]
    fn an_envelope_survives_the_way() {
        let envelope = Envelope {
            target: Target::Rooms(["a".into(), "b".into()].into_iter().collect()),
            except: ["c".into()].into_iter().collect(),
            event: Event::with_position("chat message", &"hi", &("x",)).unwrap(),
            announced_by: Some(7),
        };
        let bytes = encode(&envelope).unwrap();
        assert_eq!(decode::<Envelope>(&bytes).unwrap(), envelope);
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = encode(&7u8).unwrap().to_vec();
        bytes[0] = NEXT + 1;
        assert!(matches!(decode::<u8>(&bytes), Err(Error::Version(_))));
        assert!(matches!(decode::<u8>(&[]), Err(Error::Empty)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            version in VERSION..=NEXT,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            drop(decode::<Envelope>(&bytes));
        }
    }
}
