//! Offsets: a log position and its epoch, as clients carry them (semantics 1 to 5).

use std::fmt;
use std::str::FromStr;

use crate::log::MAX_POSITION;

/// What marks an offset as ours: a string without it is someone else's and recovers nothing.
const MARK: &str = "c1.";

/// A place in the log of one namespace.
///
/// Its text form is the last argument of every event of a recoverable connection: `c1.<epoch>.<position>`, both in base 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Changes whenever positions may have been reused.
    pub epoch: u64,
    /// Rises with each message; below 2^53.
    pub position: u64,
}

impl Offset {
    /// Names no position: carried by the history that is sent before a session's first entry. Who comes back with it is
    /// sent history again.
    pub(crate) const UNFINISHED: Self = Self {
        epoch: 0,
        position: 0,
    };
}

/// The text is not an offset of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an offset of this server")]
pub struct ForeignOffset;

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        write_base36(f, self.epoch)?;
        f.write_str(".")?;
        write_base36(f, self.position)
    }
}

impl FromStr for Offset {
    type Err = ForeignOffset;

    fn from_str(text: &str) -> Result<Self, ForeignOffset> {
        let (epoch, position) = text
            .strip_prefix(MARK)
            .and_then(|rest| rest.split_once('.'))
            .ok_or(ForeignOffset)?;
        let offset = Self {
            epoch: read_base36(epoch)?,
            position: read_base36(position)?,
        };
        // Only the one canonical spelling is ours.
        if offset.position > MAX_POSITION || offset.to_string() != text {
            return Err(ForeignOffset);
        }
        Ok(offset)
    }
}

fn write_base36(f: &mut fmt::Formatter<'_>, mut number: u64) -> fmt::Result {
    let mut digits = [0u8; 13];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    f.write_str(std::str::from_utf8(&digits[start..]).map_err(|_| fmt::Error)?)
}

fn read_base36(text: &str) -> Result<u64, ForeignOffset> {
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    {
        return Err(ForeignOffset);
    }
    u64::from_str_radix(text, 36).map_err(|_| ForeignOffset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_call_an_offset_is_foreign() {
        for text in [
            "", "MzUPkW0", "1711-0", "c1.", "c1.1", "c1.1.", "c1.01.1", "c1.A.1", "c1.1.+1",
            "c1.1.1.1",
        ] {
            assert_eq!(text.parse::<Offset>(), Err(ForeignOffset), "{text}");
        }
        let beyond = Offset {
            epoch: 1,
            position: MAX_POSITION + 1,
        };
        assert!(beyond.to_string().parse::<Offset>().is_err());
    }

    proptest! {
        #[test]
        fn an_offset_survives_its_text(epoch: u64, position in 0..=MAX_POSITION) {
            let offset = Offset { epoch, position };
            prop_assert_eq!(offset.to_string().parse(), Ok(offset));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            prop_assert!(text.parse::<Offset>().map_or(true, |offset| offset.to_string() == text));
        }
    }
}
