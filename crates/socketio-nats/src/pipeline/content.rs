//! When a message of the log is read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::log::{Entry, Unpack};

use crate::codec;
use crate::counters::Counters;

use super::Logged;

/// What a message says.
pub(crate) enum Content {
    /// As it was published. It is read if a read model may have to keep something of it, or when somebody is there to be
    /// sent it: to read it costs more than all else that is done here with a message that is for nobody.
    Packed(Bytes),
    Read(Box<Logged>),
    /// Of another release, or of somebody else.
    Unreadable,
}

impl Content {
    /// Whether this release reads it, as far as is known.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Self::Packed(payload) => codec::is_known(payload),
            Self::Read(_) => true,
            Self::Unreadable => false,
        }
    }

    /// The entry that it is at a position. What is not read is copied: a part of what the connection has read would keep
    /// all of that.
    pub(super) fn into_entry(self, position: u64, age: Duration, unpack: &Arc<Unpack>) -> Entry {
        let packed = match self {
            Self::Read(logged) => return Entry::aged(position, logged.envelope, age),
            Self::Packed(payload) => Bytes::copy_from_slice(&payload),
            Self::Unreadable => Bytes::new(),
        };
        Entry::packed(position, packed, unpack.clone(), age)
    }

    /// Reads it now.
    pub(super) fn read(&mut self, position: u64) {
        if let Self::Packed(payload) = self {
            *self = match codec::decode(payload) {
                Ok(logged) => Self::Read(Box::new(logged)),
                Err(error) => {
                    tracing::debug!(position, %error, "a message of the log cannot be read");
                    Self::Unreadable
                }
            };
        }
    }
}

/// Reads what was not read when it came; what cannot be read is counted.
pub(super) fn unpack(counters: Arc<Counters>) -> Arc<Unpack> {
    Arc::new(move |payload| match codec::decode::<Logged>(payload) {
        Ok(logged) => Some(logged.envelope),
        Err(error) => {
            tracing::debug!(%error, "a message of the log cannot be read");
            counters.unreadable_messages.increment();
            None
        }
    })
}
