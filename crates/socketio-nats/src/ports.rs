//! What this crate asks of a broker, and nothing else: [`crate::nats`] does it with async-nats, the simulation with a broker
//! that loses, delays and forgets as it is told.
//!
//! A trait for each of the three: the log, the keys of a bucket ([`crate::cells`]), and core subjects. None knows a rule of
//! this crate; whoever calls limits the time and tries again. A message that is read costs one call through a pointer and no
//! allocation.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{PublishError, Subject, SubscribeError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

use crate::cells::Cells;
use crate::codec::Events;
use crate::follower::Trouble;
use crate::publisher::Failure;
use crate::stream::StreamError;

/// One node's connection to the broker of its cluster.
#[derive(Clone)]
pub(crate) struct Ports {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sessions: Arc<dyn Cells>,
    /// The bucket of the epoch.
    pub(crate) meta: Arc<dyn Cells>,
    /// Raised when a connection was made, the first one included.
    pub(crate) connections: watch::Receiver<u64>,
}

/// What the broker says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    /// When it was made, in nanoseconds since 1970: another time is another log.
    pub(crate) created: i64,
    /// The first sequence that is there; one more than the last if none is.
    pub(crate) first: u64,
    /// The last sequence that was given out.
    pub(crate) last: u64,
}

/// A message of the log.
pub(crate) struct LogMessage {
    pub(crate) sequence: u64,
    /// When it was logged, in nanoseconds since 1970.
    pub(crate) published: i64,
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
}

impl LogMessage {
    /// How long ago it was logged, at a time since 1970.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        let logged = u64::try_from(self.published).unwrap_or_default();
        now.saturating_sub(Duration::from_nanos(logged))
    }

    /// What it says, by position.
    pub(crate) fn events(&self) -> Events {
        Events::of(self.sequence, self.payload.clone())
    }
}

/// Where a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogAck {
    pub(crate) sequence: u64,
    /// The log had one with this id.
    pub(crate) is_duplicate: bool,
}

/// A message of the log, or why there is none.
pub(crate) type LogOutcome = Result<LogMessage, Box<dyn std::error::Error + Send + Sync>>;

/// Says whether somebody waits for the log's next message. While nobody does, messages may come some milliseconds late and many
/// at a time.
pub(crate) type Awaited = Arc<dyn Fn() -> bool + Send + Sync>;

/// The log, a part of it.
pub(crate) type LogMessages = BoxStream<'static, LogOutcome>;

pub(crate) trait Log: Send + Sync {
    /// `None` if there is no log.
    fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>>;

    /// As [`Log::state`]; it is made if there is none, and compared with what is wanted if there is one.
    fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>>;

    /// How many messages are not older than that.
    fn count_since(&self, age: Duration) -> BoxFuture<'_, Result<u64, Trouble>>;

    /// Messages in their order: from the first one that is there at this sequence or above it.
    fn read(&self, from: u64, awaited: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>>;

    /// Tries once to publish. Whatever comes back, or nothing, it may have been stored.
    fn publish(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<LogAck, Failure>>;
}

/// A message on a core subject.
pub(crate) struct Letter {
    /// Where it was sent: one that the subscription's stands for.
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
    /// Where an answer goes.
    pub(crate) reply: Option<Subject>,
}

/// What comes on a subject, until the connection is given up.
pub(crate) type Letters = BoxStream<'static, Letter>;

/// Core subjects: at most once, in order for one sender and one receiver. What a node publishes comes back to it, too.
pub(crate) trait Wire: Send + Sync {
    fn is_connected(&self) -> bool;

    /// Which connection it is, the first being 1: raised before anything goes or comes by a new one.
    fn connection(&self) -> u64;

    /// Bytes that the broker takes in a message.
    fn max_payload(&self) -> usize;

    /// A subject that nobody else hears.
    fn inbox(&self) -> Subject;

    /// A `*` in it stands for any one token.
    fn subscribe(&self, subject: Subject) -> BoxFuture<'_, Result<Letters, SubscribeError>>;

    /// Resolves when the message is on its way, or will be when there is a connection.
    fn publish(
        &self,
        subject: Subject,
        reply: Option<Subject>,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<(), PublishError>>;

    /// Resolves when what was published has left, or cannot leave any more.
    fn flush(&self) -> BoxFuture<'_, ()>;
}
