//! How many nodes a process runs: a number, or one per core.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most nodes that one process runs.
pub const MAX_NODES: u16 = 64;

/// Number of nodes in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// One per core.
    Auto,
    /// This many, 1 to [`MAX_NODES`].
    Count(u16),
}

/// The text is not a number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {NODES_ALLOWED}")]
pub struct ParseNodesError;

const NODES_ALLOWED: &str = "an integer from 1 to 64, or `auto`";

impl Nodes {
    /// The number of nodes on a machine with `cores`.
    pub fn resolve(self, cores: usize) -> usize {
        match self {
            Self::Auto => cores.clamp(1, usize::from(MAX_NODES)),
            Self::Count(count) => usize::from(count),
        }
    }

    fn from_number(number: u64) -> Result<Self, ParseNodesError> {
        match u16::try_from(number) {
            Ok(count) if (1..=MAX_NODES).contains(&count) => Ok(Self::Count(count)),
            _ => Err(ParseNodesError),
        }
    }
}

impl FromStr for Nodes {
    type Err = ParseNodesError;

    fn from_str(text: &str) -> Result<Self, ParseNodesError> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Self::from_number(text.parse().map_err(|_| ParseNodesError)?),
        }
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Nodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(NODES_ALLOWED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Nodes, E> {
                Nodes::from_number(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nodes, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
