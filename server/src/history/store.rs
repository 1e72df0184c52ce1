//! The contract between the in-process log and what stores its messages.

use std::sync::Arc;

use bytes::Bytes;

/// The durable side of the in-process log.
pub trait Store: Send + Sync + 'static {
    /// Highest position ever given out as far as stored, 0 if none.
    fn last_position(&self) -> u64;

    /// Queues one record; called in rising order of position. `done` is called exactly once, in
    /// the order of the calls, after the commit. After `Busy` it is never called.
    fn commit(
        &self,
        position: u64,
        record: Record,
        done: Box<dyn FnOnce(Committed) + Send>,
    ) -> Result<(), Busy>;
}

/// One message on its way to the store.
#[derive(Clone, Debug)]
pub struct Record {
    /// Identifies the message; a second record with it is a duplicate.
    pub key: [u8; 16],
    /// The room; empty for the lobby.
    pub room: Arc<str>,
    /// The application's encoding of author, content and time.
    pub body: Bytes,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is stored under its position.
    Stored,
    /// Its key was stored before, under position `first`.
    Duplicate {
        /// The position of the first one.
        first: u64,
    },
    /// It is not stored; its position stays empty.
    Failed,
}

/// The store's queue is full; nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;
