//! The log of a namespace: what is appended, who gets it, what is stored.
//!
//! Clients get an event *because* the log took it: one order for everybody (semantics 8 and 9). This module holds the
//! words; [`crate::adapter`] holds the contract, `adapter::memory` the in-process form.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::event::{Event, Frames};
use crate::offset::Offset;
use crate::outside;
use crate::sid::Sid;

/// A room's name.
pub type Room = Arc<str>;

/// Who gets an event. A socket gets one copy, however many of the rooms it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Every socket of the namespace.
    All,
    /// The sockets of these rooms. A socket's id is a room that holds just it.
    Rooms(SmallVec<[Room; 1]>),
    /// One session, on whichever node it is.
    Session(Sid),
}

/// An event and its audience: what the log holds at a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who gets it.
    pub target: Target,
    /// Sockets in one of these rooms do not get it.
    pub except: SmallVec<[Room; 1]>,
    /// What they get.
    pub event: Event,
    /// The connection that emitted it to its own client, if it is such an event: what that connection sends past the log
    /// waits for it.
    pub announced_by: Option<ConnectionId>,
}

impl Envelope {
    fn for_nobody() -> Self {
        Self {
            target: Target::Rooms(SmallVec::new()),
            except: SmallVec::new(),
            event: Event::empty(),
            announced_by: None,
        }
    }
}

/// Tells the connections of one session apart; random, and no secret.
pub type ConnectionId = u64;

/// What the durable side keeps of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The message's identity: a second record with the same key is a duplicate of the first (semantics 13).
    pub key: [u8; 16],
    /// The room whose history it belongs to; empty for the namespace's own.
    pub room: Room,
    /// The application's own encoding of what history shows.
    pub body: Bytes,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Stored at its position.
    Stored,
    /// A record with the same key was there first; the new position stays empty.
    Duplicate {
        /// Position of the first one.
        first: u64,
    },
    /// The store failed; the position stays empty.
    Failed,
    /// The record is none that the store can keep, now or later; the position stays empty.
    Unfit,
}

/// The store's queue is full; the record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store's queue is full")]
pub struct Busy;

/// What [`Store::commit`] calls when the record's fate is known.
pub type CommitDone = Box<dyn FnOnce(Committed) + Send>;

/// The highest position: JavaScript has no whole numbers above it, and clients handle positions as such.
pub const MAX_POSITION: u64 = (1 << 53) - 1;

/// Where positions begin that are given out by the clock: a million for each second since 1970 (semantics 8). A clock that
/// only goes forward puts a restarted log above everything that it gave out before.
#[must_use]
pub fn position_by_clock() -> u64 {
    outside::since_1970().as_secs() * 1_000_000
}

/// The durable side of the in-process log.
pub trait Store: Send + Sync + 'static {
    /// The highest position that is stored, or may not be given out for another reason; 0 if there is none. Positions
    /// start above it.
    fn last_position(&self) -> u64;

    /// Queues one record; called in rising order of position, never concurrently, and must not block.
    ///
    /// `done` is called exactly once, after the commit, in the order of the calls; not from inside `commit`.
    ///
    /// # Errors
    /// [`Busy`] when the queue is full: the record is not taken and `done` is dropped uncalled.
    fn commit(&self, position: u64, record: Record, done: CommitDone) -> Result<(), Busy>;
}

/// Why an append did not happen. But for [`AppendError::Unanswered`] nothing was delivered to anybody, nor will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A queue is full: try again later.
    #[error("the log is busy")]
    Busy,
    /// The store failed: try again later.
    #[error("the log could not store the event")]
    NotStored,
    /// The log did not answer in time: the event may be in it, and may still be delivered. Try again with the same key.
    #[error("the log did not answer; the event may be in it")]
    Unanswered,
    /// The event is larger than the log takes.
    #[error("the event is too large for the log")]
    TooLarge,
    /// The namespace is [`crate::Delivery::Ephemeral`]: it has no log.
    #[error("the namespace has no log")]
    NoLog,
    /// The adapter is closed.
    #[error("the log is closed")]
    Closed,
}

/// Where an appended event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its position; with `is_duplicate` that of the first one.
    pub position: u64,
    /// A record with the same key was stored before; nobody got the event again.
    pub is_duplicate: bool,
}

/// Called once when an append has been decided. Must not block.
pub type AppendDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Reads what an adapter has packed; `None` if it is not what it should be.
pub type Unpack = dyn Fn(&[u8]) -> Option<Envelope> + Send + Sync;

/// A log entry, shared by every node of a process and by every receiver.
pub struct Entry {
    /// Its place in the order.
    pub position: u64,
    /// When it was appended: decides whether its loss from the memory window is a gap.
    pub appended_at: Instant,
    /// Of an entry that was not read when it was made.
    packed: Option<(Bytes, Arc<Unpack>)>,
    said: OnceLock<Box<Said>>,
}

/// What an entry says, and how that is sent.
#[derive(Debug)]
struct Said {
    envelope: Envelope,
    with_offset: OnceLock<Frames>,
    without_offset: OnceLock<Frames>,
}

impl From<Envelope> for Said {
    fn from(envelope: Envelope) -> Self {
        Self {
            envelope,
            with_offset: OnceLock::new(),
            without_offset: OnceLock::new(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("position", &self.position)
            .field("said", &self.said.get())
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Makes an entry of an envelope that has got its position.
    #[must_use]
    pub fn new(position: u64, envelope: Envelope) -> Self {
        Self {
            position,
            appended_at: Instant::now(),
            packed: None,
            said: OnceLock::from(Box::new(envelope.into())),
        }
    }

    /// As [`Entry::new`], for an envelope that was appended some time ago.
    #[must_use]
    pub fn aged(position: u64, envelope: Envelope, age: Duration) -> Self {
        Self::new(position, envelope).since(age)
    }

    /// As [`Entry::aged`], of an envelope that is read when somebody asks what it says: where nobody is connected, most
    /// entries are kept for a while and never read. What cannot be read is for nobody.
    #[must_use]
    pub fn packed(position: u64, bytes: Bytes, unpack: Arc<Unpack>, age: Duration) -> Self {
        let entry = Self {
            position,
            appended_at: Instant::now(),
            packed: Some((bytes, unpack)),
            said: OnceLock::new(),
        };
        entry.since(age)
    }

    fn since(mut self, age: Duration) -> Self {
        // A machine that has been up for less time than that cannot say it; the entry is then kept longer than needed.
        if let Some(appended_at) = self.appended_at.checked_sub(age) {
            self.appended_at = appended_at;
        }
        self
    }

    fn said(&self) -> &Said {
        self.said.get_or_init(|| {
            let packed = self.packed.as_ref();
            let envelope = packed.and_then(|(bytes, unpack)| unpack(bytes));
            Box::new(envelope.unwrap_or_else(Envelope::for_nobody).into())
        })
    }

    /// What it says and to whom.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.said().envelope
    }

    /// The frames for recoverable connections, encoded once for all of them.
    pub(crate) fn frames_with_offset(&self, namespace: &str, epoch: u64) -> &Frames {
        let said = self.said();
        said.with_offset.get_or_init(|| {
            let offset = Offset {
                epoch,
                position: self.position,
            };
            let event = &said.envelope.event;
            event.frames(namespace, None, self.position, Some(&offset.to_string()))
        })
    }

    /// The frames for connections without recovery, encoded once for all of them.
    pub(crate) fn frames_without_offset(&self, namespace: &str) -> &Frames {
        let said = self.said();
        said.without_offset.get_or_init(|| {
            let event = &said.envelope.event;
            event.frames(namespace, None, self.position, None)
        })
    }

    /// Bytes of what it says; packed or not, so that it is the same before and after it was read.
    fn said_bytes(&self) -> usize {
        match &self.packed {
            Some((bytes, _)) => bytes.len(),
            None => self.envelope().event.len_bytes(),
        }
    }

    /// Bytes that this entry holds while it waits for its delivery, roughly.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.said_bytes() + 256
    }

    /// Bytes that keeping this entry costs, roughly: its JSON, one set of frames and the bookkeeping.
    pub(crate) fn len_bytes(&self) -> usize {
        2 * self.said_bytes() + 256
    }
}
