use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use chatcluster_harness::nats::Options;
use chatcluster_harness::{DEADLINE, NatsServer, within};

use super::*;
use crate::ports::LogMessage;
use crate::testing;

const STREAM: &str = "pulled";
/// Shorter than the real ones, so that what they lead to is soon to be seen.
const BATCHES: Batches = Batches {
    size: 10,
    expires: Duration::from_millis(1000),
    heartbeat: Duration::from_millis(300),
    gather: Duration::from_millis(200),
};

fn read(message: Message) -> LogOutcome {
    let text = std::str::from_utf8(&message.payload)?;
    Ok(LogMessage {
        sequence: text.parse()?,
        published: 0,
        subject: message.subject,
        payload: message.payload,
    })
}

/// A stream, a consumer of it, and who reads from that.
struct Reading {
    server: NatsServer,
    client: Client,
    jetstream: jetstream::Context,
    consumer: String,
    pull: Pull,
    is_awaited: Arc<AtomicBool>,
}

async fn reading() -> Reading {
    let server = NatsServer::start(Options::default()).await;
    let client = testing::connect(server.address()).await;
    let jetstream = jetstream::new(client.clone());
    let stream = stream::Config {
        name: STREAM.to_owned(),
        ..Default::default()
    };
    let stream = within("a stream", jetstream.create_stream(stream))
        .await
        .unwrap();
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config);
    let consumer = within("a consumer", consumer).await.unwrap();
    let consumer = consumer.cached_info().name.clone();
    let is_awaited = Arc::new(AtomicBool::new(true));
    let looked_at = is_awaited.clone();
    let awaited = Arc::new(move || looked_at.load(Ordering::Relaxed));
    let pull = Pull::open(&client, (STREAM, &consumer), (BATCHES, awaited), read);
    let pull = within("a subscription", pull).await.unwrap();
    Reading {
        server,
        client,
        jetstream,
        consumer,
        pull,
        is_awaited,
    }
}

impl Reading {
    async fn publish(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let sent = self.jetstream.publish(STREAM, number.to_string().into());
            let stored = within("a publish", sent).await.unwrap();
            within("its acknowledgement", stored.into_future())
                .await
                .unwrap();
        }
    }

    /// Reads these, in this order and nothing else.
    async fn reads(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let message = within("a message", self.pull.next()).await;
            assert_eq!(message.unwrap().unwrap().sequence, number);
        }
    }

    /// Reads on until it has been said that nothing is left, and nothing is.
    async fn reads_no_more(&mut self) {
        let pull = &mut self.pull;
        let none = poll_fn(|context| {
            let read = pull.poll_next_unpin(context);
            assert!(read.is_pending(), "nothing is there");
            match pull.gathering {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            }
        });
        within("an end of what is there", none).await;
    }

    /// Nobody waits for messages, from the first request on.
    async fn gathering() -> (Self, Subscriber) {
        let reading = reading().await;
        reading.is_awaited.store(false, Ordering::Relaxed);
        let requests = reading.client.subscribe(reading.pull.next.clone());
        let requests = within("a subscription", requests).await.unwrap();
        within("a flush", reading.client.flush()).await.unwrap();
        (reading, requests)
    }

    async fn error(&mut self) -> String {
        let end = within("an end", self.pull.next()).await;
        let Some(Err(error)) = end else {
            panic!("something was read")
        };
        error.to_string()
    }
}

#[tokio::test]
async fn messages_come_whole_and_in_order_over_many_batches() {
    let mut reading = reading().await;
    reading.publish(0..25).await;
    reading.reads(0..25).await;
    reading.publish(25..60).await;
    reading.reads(25..60).await;
    assert!(reading.pull.pending <= 2 * BATCHES.size);
}

#[tokio::test]
async fn a_batch_whose_time_is_over_is_asked_for_anew() {
    let mut reading = reading().await;
    reading.publish(0..3).await;
    reading.reads(0..3).await;
    // Heartbeats come, and what was asked for expires more than once.
    let quiet = tokio::time::timeout(BATCHES.expires * 5 / 2, reading.pull.next());
    assert!(
        quiet.await.is_err(),
        "nothing is read, and nothing is wrong"
    );
    assert!(reading.pull.pending >= BATCHES.size / 2);
    assert!(reading.pull.pending <= 2 * BATCHES.size);
    reading.publish(3..30).await;
    reading.reads(3..30).await;
}

#[tokio::test]
async fn a_consumer_that_was_deleted_ends_it() {
    let mut reading = reading().await;
    reading.publish(0..1).await;
    reading.reads(0..1).await;
    let stream = within("the stream", reading.jetstream.get_stream(STREAM)).await;
    let stream = stream.unwrap();
    let deleted = stream.delete_consumer(&reading.consumer);
    within("a deletion", deleted).await.unwrap();
    let error = reading.error().await;
    assert!(error.contains("Consumer Deleted"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_it() {
    let mut reading = reading().await;
    reading.publish(0..1).await;
    reading.reads(0..1).await;
    reading.server.stop().await;
    assert_eq!(reading.error().await, Error::Silent.to_string());
    reading.server.cont();
}

#[tokio::test]
async fn while_nobody_waits_messages_gather_and_come_together() {
    let (mut reading, mut requests) = Reading::gathering().await;
    reading.publish(0..1).await;
    reading.reads(0..1).await;
    for first in (1..).step_by(5).take(4) {
        // The request before is over only then. While nothing is read, nobody looks whether it is time for another.
        reading.reads_no_more().await;
        reading.publish(first..first + 5).await;
        reading.reads(first..first + 5).await;
    }
    let asked = std::iter::from_fn(|| requests.next().now_or_never());
    assert_eq!(asked.count(), 5, "one request for each five messages");
}

#[tokio::test]
async fn what_is_behind_comes_without_a_pause_although_nobody_waits() {
    let (mut reading, _) = Reading::gathering().await;
    // One pause, and what follows does not come in time.
    reading.pull.batches.gather = 2 * DEADLINE;
    reading.publish(0..95).await;
    reading.reads(0..95).await;
}

#[tokio::test]
async fn who_begins_to_wait_is_sent_each_message_at_once() {
    let (mut reading, mut requests) = Reading::gathering().await;
    reading.publish(0..3).await;
    reading.reads(0..3).await;
    reading.is_awaited.store(true, Ordering::Relaxed);
    for number in 3..40 {
        reading.publish(number..number + 1).await;
        reading.reads(number..number + 1).await;
    }
    let asked = std::iter::from_fn(|| requests.next().now_or_never());
    assert!(asked.count() < 15, "batches again, asked for ahead");
}

#[tokio::test]
async fn a_server_that_says_nothing_ends_it_although_nobody_waits() {
    let (mut reading, _) = Reading::gathering().await;
    reading.publish(0..1).await;
    reading.reads(0..1).await;
    // What was asked for next expires more than once.
    let quiet = tokio::time::timeout(BATCHES.expires * 5 / 2, reading.pull.next());
    assert!(
        quiet.await.is_err(),
        "nothing is read, and nothing is wrong"
    );
    reading.publish(1..2).await;
    reading.reads(1..2).await;
    reading.server.stop().await;
    assert_eq!(reading.error().await, Error::Silent.to_string());
    reading.server.cont();
}
