//! One key of the bucket, asked once: a conditional write, a direct read. Whoever calls limits the time and tries again.
//!
//! These are the requests that the client library's KV makes, and those that it lacks: a write with an expiry over a known
//! revision.

use std::time::Duration;

use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MARKER_REASON, NATS_MESSAGE_TTL, NATS_SEQUENCE,
};
use async_nats::jetstream::ErrorCode;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind, StatusCode};
use bytes::Bytes;
use chatcluster_socketio::session::Revision;
use serde::Deserialize;

/// Names the write that stored an entry.
const WRITE_ID: &str = "ChatCluster-Write";
/// What a KV entry that is not a value says.
const OPERATION: &str = "KV-Operation";
/// Before the current revision, in the text of a refusal.
const WRONG_LAST: &str = "wrong last sequence: ";

/// A random name of one write, the same for each of its tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId(u64);

impl WriteId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(WRITE_ID)?.as_str();
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// What to do to a key.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put { value: Bytes, ttl: Option<Duration> },
    Remove { mark: Duration },
}

/// A change to one key, if its revision is still the expected one; 0 is none.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) id: WriteId,
    pub(super) expected: Revision,
    change: Change,
}

impl Write {
    pub(super) fn new(key: String, expected: Revision, change: Change) -> Self {
        Self {
            key,
            id: WriteId::random(),
            expected,
            change,
        }
    }

    fn request(&self) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            self.expected.to_string(),
        );
        headers.insert(WRITE_ID, format!("{:x}", self.id.0));
        let (value, ttl) = match &self.change {
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
}

/// Whole seconds that are not shorter; the broker knows no less than one.
fn seconds(ttl: Duration) -> u64 {
    let is_cut = ttl.subsec_nanos() > 0;
    (ttl.as_secs() + u64::from(is_cut)).max(1)
}

/// What the broker said to a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Stored(Revision),
    /// Another revision is there, 0 if none; unknown while a write before this one is not yet replicated.
    Refused {
        current: Option<Revision>,
    },
}

/// What a key holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) revision: Revision,
    pub(super) value: Bytes,
    /// The mark of a removal or an expiry, no value.
    pub(super) is_mark: bool,
    /// Who wrote it.
    pub(super) id: Option<WriteId>,
}

impl Found {
    /// Reads the answer to a direct read.
    pub(super) fn of(message: Message) -> Result<Self, Error> {
        let headers = message.headers.as_ref().ok_or(Error::Strange)?;
        let revision = headers.get(NATS_SEQUENCE).ok_or(Error::Strange)?;
        let operation = headers.get(OPERATION).is_some_and(|o| o.as_str() != "PUT");
        Ok(Self {
            revision: revision.as_str().parse().map_err(|_| Error::Strange)?,
            is_mark: operation || headers.get(NATS_MARKER_REASON).is_some(),
            id: WriteId::of(headers),
            value: message.payload,
        })
    }
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

impl From<async_nats::RequestError> for Error {
    fn from(error: async_nats::RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::TimedOut => Self::NoAnswer,
            RequestErrorKind::NoResponders => Self::NoHolder,
            _ => Self::Send(error),
        }
    }
}

/// The keys of one bucket.
pub(super) struct Cells {
    client: Client,
    bucket: String,
}

impl Cells {
    pub(super) fn new(client: Client, bucket: &str) -> Self {
        Self {
            client,
            bucket: bucket.to_owned(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A key's subject.
    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.bucket)
    }

    /// The key that a subject is of.
    pub(super) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix("$KV.")?;
        rest.strip_prefix(&self.bucket)?.strip_prefix('.')
    }

    /// Where direct reads of the whole bucket are asked for.
    pub(super) fn direct(&self) -> String {
        format!("$JS.API.DIRECT.GET.KV_{}", self.bucket)
    }

    pub(super) async fn write(&self, write: &Write) -> Result<Answer, Error> {
        let subject = self.subject(&write.key);
        let answer = self.client.send_request(subject, write.request()).await?;
        read_ack(&answer.payload)
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Found>, Error> {
        let subject = format!("{}.{}", self.direct(), self.subject(key));
        let answer = self.client.send_request(subject, Request::new()).await?;
        match answer.status {
            None | Some(StatusCode::OK) => Found::of(answer).map(Some),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(Error::Broker(status.to_string())),
        }
    }
}

/// An acknowledgement, as much of it as is needed.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: Revision,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    err_code: u64,
    #[serde(default)]
    description: String,
}

fn read_ack(payload: &[u8]) -> Result<Answer, Error> {
    let ack: Ack = serde_json::from_slice(payload).map_err(|_| Error::Strange)?;
    let Some(error) = ack.error else {
        return match ack.seq {
            0 => Err(Error::Strange),
            seq => Ok(Answer::Stored(seq)),
        };
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
