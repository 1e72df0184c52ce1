//! Durations as people write them: `500ms`, `25s`, `2m`, `12h`, `30d`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a duration may look like, as error messages say it.
const ALLOWED: &str = "a duration such as `500ms`, `25s`, `2m`, `12h` or `30d`";

/// Milliseconds per unit, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A duration in whole milliseconds, written as one number and one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// The text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {ALLOWED}")]
pub struct ParseDurationError;

impl DurationText {
    /// A duration of `seconds`.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for DurationText {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or(ParseDurationError)?;
        let (number, unit) = text.split_at(digits);
        let (_, scale) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(ParseDurationError)?;
        let number: u64 = number.parse().map_err(|_| ParseDurationError)?;
        let milliseconds = number.checked_mul(*scale).ok_or(ParseDurationError)?;
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if milliseconds == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in UNITS {
            if milliseconds.is_multiple_of(scale) {
                return write!(f, "{}{unit}", milliseconds / scale);
            }
        }
        unreachable!("every number of milliseconds is a multiple of one")
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ALLOWED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DurationText, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            // A bare number has no unit; only zero needs none.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<DurationText, E> {
                match number {
                    0 => Ok(DurationText(Duration::ZERO)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_understood() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("25s", 25_000),
            ("2m", 120_000),
            ("12h", 43_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(
                text.parse(),
                Ok(DurationText(Duration::from_millis(milliseconds))),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "25",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1w",
            "1s ",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(
                text.parse::<DurationText>(),
                Err(ParseDurationError),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 0..=10_u64.pow(15)) {
            let duration = DurationText(Duration::from_millis(milliseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
