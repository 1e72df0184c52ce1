//! What is published: an event on its way, and the message that it goes out in, alone or with others.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chatcluster_socketio::log::AppendError;
use chatcluster_socketio::outside;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::codec;
use crate::ports::LogAck;
use crate::position::position_of;

/// Called once with the fate of an event.
pub(crate) type Published = Box<dyn FnOnce(Result<Stored, AppendError>) + Send>;

/// Where an event is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) position: u64,
    /// The log had a message with this id before this one was first sent.
    pub(crate) is_duplicate: bool,
    /// The log had one with this id before the last attempt: this position may be that of a copy.
    pub(crate) was_there: bool,
}

/// An event on its way into the log.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    /// All of one lane keep their order.
    pub(crate) lane: u64,
    pub(crate) sharing: Sharing,
    pub(crate) payload: Bytes,
}

/// Whether an event may be in one message with others.
pub(crate) enum Sharing {
    /// No: somebody else may send the same one, by this `Nats-Msg-Id`.
    No { id: String },
    /// With those that have the same subject for it.
    Under(Arc<str>),
}

/// An event that waits, or is on its way.
pub(super) struct Job {
    pub(super) event: Outgoing,
    pub(super) done: Published,
    pub(super) deadline: Instant,
    /// What it takes of the bounds.
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

/// A message on its way: one event, or several that share it; never none.
pub(super) struct Message {
    /// `Nats-Msg-Id`.
    pub(super) id: String,
    pub(super) payload: Bytes,
    pub(super) jobs: Vec<Job>,
    pub(super) attempts: u32,
}

impl Job {
    /// Whether both may be in one message; the other one came later, but not by more than this.
    pub(super) fn may_share(&self, other: &Self, spread: Duration) -> bool {
        let [mine, theirs] = [self, other].map(|job| job.event.sharing.subject());
        let is_near = other.deadline.saturating_duration_since(self.deadline) <= spread;
        is_near && mine.is_some() && mine == theirs
    }
}

impl Sharing {
    fn subject(&self) -> Option<&str> {
        match self {
            Self::No { .. } => None,
            Self::Under(subject) => Some(subject),
        }
    }
}

impl Message {
    /// Of one event, or of several that may share a message.
    pub(super) fn of(mut jobs: Vec<Job>) -> Self {
        let payload = match &*jobs {
            [only] => only.event.payload.clone(),
            several => codec::bundle(several.iter().map(|job| &job.event.payload)),
        };
        for job in &mut jobs {
            // The message has it.
            job.event.payload = Bytes::new();
        }
        let id = match &jobs[0].event.sharing {
            Sharing::No { id } => id.clone(),
            Sharing::Under(_) => URL_SAFE_NO_PAD.encode(outside::random::<[u8; 16]>()),
        };
        Self {
            id,
            payload,
            jobs,
            attempts: 0,
        }
    }

    /// That of its only event, or the one that all of its events share.
    pub(super) fn subject(&self) -> &str {
        let event = &self.jobs[0].event;
        match &event.sharing {
            Sharing::Under(subject) if self.jobs.len() > 1 => subject,
            _ => &event.subject,
        }
    }

    /// Then it is known that nothing of it is in the log.
    pub(super) fn is_one_event_tried_once(&self) -> bool {
        self.jobs.len() == 1 && self.attempts == 1
    }

    /// Until when it is tried: its first event has waited the longest.
    pub(super) fn deadline(&self) -> Instant {
        self.jobs[0].deadline
    }

    /// Tells who waits for its events.
    pub(super) fn settle(self, fate: Result<LogAck, AppendError>) {
        let (attempts, count) = (self.attempts, self.jobs.len());
        for (index, job) in self.jobs.into_iter().enumerate() {
            (job.done)(fate.map(|ack| Stored {
                position: position_of(ack.sequence, index, count),
                // An earlier attempt of this very message may be what the log has already.
                is_duplicate: ack.is_duplicate && attempts == 1,
                was_there: ack.is_duplicate,
            }));
        }
    }
}
