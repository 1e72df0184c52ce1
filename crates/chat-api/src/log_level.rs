//! Severity of log lines, as it is written in the file and on the command line.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Severity of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures that someone must look at.
    Error,
    /// Also what may become a failure.
    Warn,
    /// Also what happens once: start, drain, end.
    Info,
    /// Also what happens per connection.
    Debug,
    /// Also what happens per packet.
    Trace,
}

/// The text is not a log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of `error`, `warn`, `info`, `debug`, `trace`")]
pub struct ParseLogLevelError;

impl LogLevel {
    /// The level as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = ParseLogLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLogLevelError> {
        [
            Self::Error,
            Self::Warn,
            Self::Info,
            Self::Debug,
            Self::Trace,
        ]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or(ParseLogLevelError)
    }
}
