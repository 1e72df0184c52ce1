//! The form of everything that this crate puts on the broker: one byte for the version, then MessagePack.
//!
//! A node of version N reads N and N - 1. What is newer, older or broken is [`Error`]: it is counted and dropped by whoever
//! read it, and never believed in part.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that this release writes.
pub const VERSION: u8 = 1;

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
    #[error("read the format of version {VERSION}")]
    Malformed(#[source] rmp_serde::decode::Error),
}

/// Writes a value.
///
/// # Errors
/// When the value's own `Serialize` fails.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, rmp_serde::encode::Error> {
    let mut bytes = vec![VERSION];
    rmp_serde::encode::write(&mut bytes, value)?;
    Ok(bytes.into())
}

/// Reads a value.
///
/// # Errors
/// [`Error`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, rest)) => rmp_serde::from_slice(rest).map_err(Error::Malformed),
        Some((&version, _)) => Err(Error::Version(version)),
    }
}

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
        bytes[0] = VERSION + 1;
        assert!(matches!(decode::<u8>(&bytes), Err(Error::Version(_))));
        assert!(matches!(decode::<u8>(&[]), Err(Error::Empty)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            drop(decode::<Envelope>(&bytes));
        }
    }
}
