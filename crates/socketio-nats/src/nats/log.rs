//! The log: a stream of JetStream.
//!
//! It is read by a plain pull consumer ([`super::pull`]), not the client's ordered one: that one forgets where it began on a
//! quiet stream, and jumps over what was purged without a word.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::Info;
use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::follower::Trouble;
use crate::names::Names;
use crate::options::Options;
use crate::ports::{Awaited, Log, LogAck, LogMessage, LogMessages, LogOutcome, LogState};
use crate::publisher::Failure;
use crate::stream::{self, StreamError};

use super::CALL;
use super::ack::Ack;
use super::jetstream;
use super::pull::{Batches, Pull};

/// How long a consumer stays that nobody reads from.
const IDLE: Duration = Duration::from_secs(30);

/// How the log is read.
const BATCHES: Batches = Batches {
    // Of messages that are as large as those of several events get, what is asked for is less than a server lets wait for a
    // connection that is to be let go soon (`max_pending`, 32 MB).
    size: 250,
    expires: Duration::from_secs(30),
    heartbeat: Duration::from_secs(2),
    // Who connects meanwhile waits no longer than that for what it has seen elsewhere.
    gather: Duration::from_millis(10),
};

pub(super) struct Stream {
    client: Client,
    jetstream: Context,
    names: Names,
    options: Arc<Options>,
}

impl Stream {
    pub(super) fn new(client: &Client, names: Names, options: Arc<Options>) -> Self {
        Self {
            client: client.clone(),
            jetstream: jetstream(client),
            names,
            options,
        }
    }

    async fn consumer(&self, from: DeliverPolicy) -> Result<Consumer<pull::Config>, Trouble> {
        let config = pull::Config {
            deliver_policy: from,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: IDLE,
            ..pull::Config::default()
        };
        let made = self
            .jetstream
            .create_consumer_on_stream(config, self.names.stream());
        let made = timeout(CALL, made).await.map_err(|_| Trouble::NoAnswer)?;
        made.map_err(|source| Trouble::Consumer(source.into()))
    }
}

impl Log for Stream {
    fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>> {
        Box::pin(async move {
            let info = stream::info(&self.jetstream, &self.names).await?;
            Ok(info.as_ref().map(state_of))
        })
    }

    fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>> {
        Box::pin(async move {
            let info = stream::ensure(&self.jetstream, &self.names, &self.options).await?;
            Ok(state_of(&info))
        })
    }

    fn count_since(&self, age: Duration) -> BoxFuture<'_, Result<u64, Trouble>> {
        Box::pin(async move {
            let start_time = async_nats::datetime::now() - age;
            let from = DeliverPolicy::ByStartTime { start_time };
            let consumer = self.consumer(from).await?;
            Ok(consumer.cached_info().num_pending)
        })
    }

    fn read(&self, from: u64, awaited: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>> {
        Box::pin(async move {
            let from = DeliverPolicy::ByStartSequence {
                start_sequence: from.max(1),
            };
            let consumer = self.consumer(from).await?;
            let consumer = &consumer.cached_info().name;
            let stream = self.names.stream();
            let how = (BATCHES, awaited);
            let messages = Pull::open(&self.client, (&stream, consumer), how, read);
            let opened = timeout(CALL, messages).await;
            let opened = opened.map_err(|_| Trouble::NoAnswer)?;
            let messages = opened.map_err(|source| Trouble::Read(source.into()))?;
            Ok(messages.boxed())
        })
    }

    fn publish(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<LogAck, Failure>> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        // Whoever publishes limits the time.
        let request = Request::new().headers(headers).payload(payload);
        let request = request.timeout(None);
        let (client, subject) = (self.client.clone(), subject.to_owned());
        Box::pin(async move {
            let answer = client.send_request(subject, request).await;
            let answer = answer.map_err(|error| match error.kind() {
                RequestErrorKind::MaxPayloadExceeded => Failure::TooLarge,
                _ => Failure::Again(error.to_string()),
            })?;
            acknowledged(&answer.payload)
        })
    }
}

fn acknowledged(answer: &[u8]) -> Result<LogAck, Failure> {
    let ack = Ack::read(answer);
    let ack = ack.ok_or_else(|| Failure::Again("the answer is none of JetStream".to_owned()))?;
    match ack.error {
        Some(error) => Err(Failure::Again(format!(
            "{} ({})",
            error.description, error.err_code
        ))),
        None => Ok(LogAck {
            sequence: ack.seq,
            is_duplicate: ack.duplicate,
        }),
    }
}

fn state_of(info: &Info) -> LogState {
    LogState {
        created: nanoseconds(info.created),
        first: info.state.first_sequence,
        last: info.state.last_sequence,
    }
}

fn read(message: Message) -> LogOutcome {
    let reply = message.reply.as_deref().unwrap_or_default();
    let (sequence, published) = stored_at(reply).ok_or("a message that is of no stream")?;
    Ok(LogMessage {
        sequence,
        published,
        subject: message.subject,
        payload: message.payload,
    })
}

/// Where and when a message was stored, as its reply subject says (ADR-15 of NATS):
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.<sequence>.<time>.<pending>[.<more>]`. The
/// library's own reading of it takes all parts, and half as long again as the decoding of the event.
fn stored_at(reply: &str) -> Option<(u64, i64)> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    // Where the parts end, but for the last one.
    let mut ends = [0; 9];
    let mut count = 0;
    for (index, byte) in rest.bytes().enumerate() {
        if byte == b'.' {
            ends[count] = index;
            count += 1;
            if count == ends.len() {
                break;
            }
        }
    }
    let before = match count {
        6 => 0,
        8 | 9 => 2,
        _ => return None,
    };
    let part = |index: usize| rest.get(ends[before + index - 1] + 1..ends[before + index]);
    Some((part(3)?.parse().ok()?, part(5)?.parse().ok()?))
}

/// Nanoseconds since 1970.
fn nanoseconds(time: async_nats::datetime::DateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_reply_subject_say_where_the_message_is() {
        let stored = Some((21, 1_795_000_000_123_456_789));
        let rest = "s_log.C0ns.1.21.7.1795000000123456789.3";
        for reply in [
            format!("$JS.ACK.{rest}"),
            format!("$JS.ACK.hub.ACCOUNT.{rest}"),
            format!("$JS.ACK.hub.ACCOUNT.{rest}.r4nd0m"),
        ] {
            assert_eq!(stored_at(&reply), stored, "{reply}");
        }
    }

    #[test]
    fn another_reply_subject_says_nothing() {
        for reply in [
            "",
            "_INBOX.a.b",
            "$JS.ACK.s.c.1.21.7.1795000000123456789",
            "$JS.ACK.s.c.1.x.7.1795000000123456789.3",
            "$JS.NAK.s.c.1.21.7.1795000000123456789.3",
        ] {
            assert_eq!(stored_at(reply), None, "{reply}");
        }
    }
}
