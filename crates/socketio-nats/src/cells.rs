//! One key of a bucket, asked once: a conditional write, a read, a page of all. Whoever calls limits the time and tries again.

use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::outside;
use chatcluster_socketio::session::Revision;
use futures_util::future::BoxFuture;

use crate::cluster;

/// A random name of one write, the same for each of its tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteId(pub(crate) u64);

impl WriteId {
    pub(crate) fn random() -> Self {
        Self(outside::random())
    }
}

/// What to do to a key.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put { value: Bytes, ttl: Option<Duration> },
    Remove { mark: Duration },
}

/// A change to one key, if its revision is still the expected one; 0 is none.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) id: WriteId,
    pub(crate) expected: Revision,
    pub(crate) change: Change,
}

impl Write {
    pub(crate) fn new(key: String, expected: Revision, change: Change) -> Self {
        Self {
            key,
            id: WriteId::random(),
            expected,
            change,
        }
    }
}

/// What the broker said to a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored(Revision),
    /// Another revision is there, 0 if none; unknown while a write before this one is not yet replicated.
    Refused {
        current: Option<Revision>,
    },
}

/// What a key holds.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
    /// The mark of a removal or an expiry, no value.
    pub(crate) is_mark: bool,
    /// Who wrote it.
    pub(crate) id: Option<WriteId>,
}

/// Entries in the order of their revisions.
pub(crate) struct Page {
    pub(crate) entries: Vec<Stored>,
    /// The last revision; 0 if there is none.
    pub(crate) last: Revision,
    /// Entries after this page.
    pub(crate) pending: usize,
}

/// An entry and its key.
pub(crate) struct Stored {
    pub(crate) key: String,
    pub(crate) found: Found,
}

/// The keys of one bucket. Revisions rise over all keys.
pub(crate) trait Cells: Send + Sync {
    /// The bucket is made if there is none, and compared with what is wanted if there is one.
    fn ensure(&self) -> BoxFuture<'_, Result<(), cluster::Error>>;

    /// Tries once to write.
    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<Answer, Error>>;

    /// A replica's answer: it may be behind the others.
    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Found>, Error>>;

    /// The entries that begin at a revision, as many as fit in a page.
    fn page(&self, from: Revision) -> BoxFuture<'_, Result<Page, Error>>;
}

/// A try failed; a write may have been stored all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing came back in time.
    #[error("the broker does not answer")]
    NoAnswer,
    /// Nobody holds the bucket: it does not exist, or its replicas have no leader now.
    #[error("nobody holds the bucket")]
    NoHolder,
    /// The request was not sent.
    #[error("send a request to the broker")]
    Send(#[source] async_nats::RequestError),
    /// The broker answered with an error.
    #[error("the broker refuses: {0}")]
    Broker(String),
    /// Not what the broker promises.
    #[error("the broker's answer cannot be read")]
    Strange,
    /// A replica has not yet what another one has.
    #[error("the broker's replicas do not agree yet")]
    Lag,
}
