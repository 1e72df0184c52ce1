//! The keys of a bucket.
//!
//! These are the requests that the client library's KV makes, and those that it lacks: a write with an expiry over a known
//! revision.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MARKER_REASON, NATS_MESSAGE_TTL, NATS_SEQUENCE,
};
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind, StatusCode};
use bytes::Bytes;
use chatcluster_socketio::session::Revision;
use futures_util::future::BoxFuture;

use crate::cells::{Answer, Cells, Change, Error, Found, Page, Write, WriteId};
use crate::cluster;
use crate::names::Names;
use crate::options::Options;
use crate::sessions::ensure_bucket;

use super::ack::Ack;
use super::{jetstream, meta};

/// Names the write that stored an entry.
const WRITE_ID: &str = "ChatCluster-Write";
/// What a KV entry that is not a value says.
const OPERATION: &str = "KV-Operation";
/// Before the current revision, in the text of a refusal.
const WRONG_LAST: &str = "wrong last sequence: ";

/// Which bucket it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Sessions,
    Meta,
}

/// One bucket.
pub(super) struct Bucket {
    client: Client,
    name: String,
    names: Names,
    kind: Kind,
    options: Arc<Options>,
}

impl Bucket {
    pub(super) fn new(client: Client, names: &Names, kind: Kind, options: Arc<Options>) -> Self {
        Self {
            client,
            name: match kind {
                Kind::Sessions => names.sessions(),
                Kind::Meta => names.meta(),
            },
            names: names.clone(),
            kind,
            options,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A key's subject.
    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// The key that a subject is of.
    pub(super) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix("$KV.")?;
        rest.strip_prefix(&self.name)?.strip_prefix('.')
    }

    /// Where direct reads of the whole bucket are asked for.
    pub(super) fn direct(&self) -> String {
        format!("$JS.API.DIRECT.GET.KV_{}", self.name)
    }
}

impl Cells for Bucket {
    fn ensure(&self) -> BoxFuture<'_, Result<(), cluster::Error>> {
        Box::pin(async move {
            let jetstream = jetstream(&self.client);
            let (replicas, storage) = (self.options.replicas, self.options.storage);
            match self.kind {
                Kind::Sessions => ensure_bucket(&jetstream, &self.names, replicas, storage).await?,
                Kind::Meta => meta::ensure(&jetstream, &self.name, replicas, storage).await?,
            }
            Ok(())
        })
    }

    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let subject = self.subject(&write.key);
            let answer = self.client.send_request(subject, request(write)).await?;
            read_ack(&answer.payload)
        })
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Found>, Error>> {
        Box::pin(async move {
            let subject = format!("{}.{}", self.direct(), self.subject(key));
            let answer = self.client.send_request(subject, Request::new()).await?;
            match answer.status {
                None | Some(StatusCode::OK) => found(answer).map(Some),
                Some(StatusCode::NOT_FOUND) => Ok(None),
                Some(status) => Err(Error::Broker(status.to_string())),
            }
        })
    }

    fn page(&self, from: Revision) -> BoxFuture<'_, Result<Page, Error>> {
        Box::pin(self.read_page(from))
    }
}

/// What asks the broker for a write.
fn request(write: &Write) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(
        NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
        write.expected.to_string(),
    );
    headers.insert(WRITE_ID, format!("{:x}", write.id.0));
    let (value, ttl) = match &write.change {
        Change::Put { value, ttl } => (value.clone(), *ttl),
        Change::Remove { mark } => {
            // The mark of a purge goes without another mark when its time comes; that of a deletion does not.
            headers.insert(OPERATION, "PURGE");
            (Bytes::new(), Some(*mark))
        }
    };
    if let Some(ttl) = ttl {
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", seconds(ttl)));
    }
    Request::new().headers(headers).payload(value)
}

/// Whole seconds that are not shorter; the broker knows no less than one.
fn seconds(ttl: Duration) -> u64 {
    let is_cut = ttl.subsec_nanos() > 0;
    (ttl.as_secs() + u64::from(is_cut)).max(1)
}

/// Reads the answer to a direct read.
pub(super) fn found(message: Message) -> Result<Found, Error> {
    let headers = message.headers.as_ref().ok_or(Error::Strange)?;
    let revision = headers.get(NATS_SEQUENCE).ok_or(Error::Strange)?;
    let operation = headers.get(OPERATION).is_some_and(|o| o.as_str() != "PUT");
    Ok(Found {
        revision: revision.as_str().parse().map_err(|_| Error::Strange)?,
        is_mark: operation || headers.get(NATS_MARKER_REASON).is_some(),
        id: write_id(headers),
        value: message.payload,
    })
}

fn write_id(headers: &HeaderMap) -> Option<WriteId> {
    let text = headers.get(WRITE_ID)?.as_str();
    u64::from_str_radix(text, 16).ok().map(WriteId)
}

impl From<async_nats::RequestError> for Error {
    fn from(error: async_nats::RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::TimedOut => Self::NoAnswer,
            RequestErrorKind::NoResponders => Self::NoHolder,
            _ => Self::Send(error),
        }
    }
}

fn read_ack(payload: &[u8]) -> Result<Answer, Error> {
    let ack = Ack::read(payload).ok_or(Error::Strange)?;
    let Some(error) = ack.error else {
        return Ok(Answer::Stored(ack.seq));
    };
    match ErrorCode(error.err_code) {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => {
            let current = error.description.strip_prefix(WRONG_LAST);
            Ok(Answer::Refused {
                current: current.and_then(|text| text.parse().ok()),
            })
        }
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Ok(Answer::Refused { current: None }),
        ErrorCode(code) => Err(Error::Broker(format!("{} ({code})", error.description))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_never_shorter_than_asked_for() {
        for (ttl, expected) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (120_000, 120)] {
            assert_eq!(seconds(Duration::from_millis(ttl)), expected, "{ttl} ms");
        }
    }

    #[test]
    fn a_refusal_names_the_revision_that_is_there() {
        let refusal = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 12"},"stream":"s","seq":0}"#;
        let current = Some(12);
        assert_eq!(read_ack(refusal).unwrap(), Answer::Refused { current });
    }

    #[test]
    fn an_acknowledgement_without_a_sequence_is_none() {
        assert!(matches!(read_ack(b"{}"), Err(Error::Strange)));
        assert!(matches!(read_ack(b"+OK"), Err(Error::Strange)));
        assert_eq!(
            read_ack(br#"{"stream":"s","seq":7}"#).unwrap(),
            Answer::Stored(7)
        );
    }
}
