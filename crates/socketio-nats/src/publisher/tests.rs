//! A publisher on a broker whose connections and acknowledgements are the test's.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{PublishError, Subject, SubscribeError};
use bytes::Bytes;
use chatcluster_harness::within;
use chatcluster_socketio::level::Level;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::*;
use crate::codec::Events;
use crate::follower::Trouble;
use crate::ports::{Awaited, Letters, LogMessages, LogState};
use crate::position::{first_of, last_of};
use crate::stream::StreamError;

/// A broker whose connections and acknowledgements are the test's.
struct Broker {
    connection: AtomicU64,
    /// Bytes that events may have in one message.
    room: usize,
    asked: mpsc::UnboundedSender<Asked>,
}

/// A message that was published, and who waits for its acknowledgement.
struct Asked {
    subject: String,
    id: String,
    payload: Bytes,
    answer: oneshot::Sender<Result<LogAck, Failure>>,
}

impl Asked {
    fn events(&self) -> Vec<Bytes> {
        let events = Events::of(1, self.payload.clone());
        events.map(|(_, event)| event).collect()
    }

    fn acknowledge(self, sequence: u64, is_duplicate: bool) {
        let ack = LogAck {
            sequence,
            is_duplicate,
        };
        assert!(self.answer.send(Ok(ack)).is_ok());
    }
}

/// A publisher on such a broker, and what it publishes.
struct Bench {
    broker: Arc<Broker>,
    looked: Arc<Level>,
    publisher: Publisher,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Bench {
    fn new() -> Self {
        Self::with_room(100)
    }

    fn with_room(room: usize) -> Self {
        let (asking, asked) = mpsc::unbounded_channel();
        let broker = Arc::new(Broker {
            connection: AtomicU64::new(1),
            room,
            asked: asking,
        });
        let looked = Arc::new(Level::default());
        looked.set(1);
        let gate = Gate::new(broker.clone(), looked.clone());
        let ports = (
            broker.clone() as Arc<dyn Log>,
            broker.clone() as Arc<dyn Wire>,
        );
        Self {
            publisher: Publisher::spawn(ports, gate, Arc::default()),
            broker,
            looked,
            asked,
        }
    }

    fn publish(&self, lane: u64, sharing: Sharing, payload: &'static [u8]) -> Fate {
        let (told, fate) = oneshot::channel();
        let event = Outgoing {
            subject: format!("log.{lane}"),
            lane,
            sharing,
            payload: Bytes::from_static(payload),
        };
        // Who asked may have been dropped.
        let done = Box::new(|fate| {
            let _gone = told.send(fate);
        });
        self.publisher.publish(event, done);
        fate
    }

    async fn next(&mut self) -> Asked {
        within("a message", self.asked.recv()).await.unwrap()
    }

    /// Whatever can be published has been.
    async fn is_quiet(&mut self) -> bool {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.asked.try_recv().is_err()
    }
}

type Fate = oneshot::Receiver<Result<Stored, AppendError>>;

fn shared() -> Sharing {
    Sharing::Under("log.m".into())
}

async fn positions(fates: Vec<Fate>) -> Vec<u64> {
    let mut positions = Vec::new();
    for fate in fates {
        let stored = within("a fate", fate).await.unwrap();
        positions.push(stored.unwrap().position);
    }
    positions
}

impl Wire for Broker {
    fn is_connected(&self) -> bool {
        true
    }
    fn connection(&self) -> u64 {
        self.connection.load(Ordering::Relaxed)
    }
    fn max_payload(&self) -> usize {
        HEADROOM + self.room
    }
    fn inbox(&self) -> Subject {
        unreachable!("nobody asks")
    }
    fn subscribe(&self, _: Subject) -> BoxFuture<'_, Result<Letters, SubscribeError>> {
        unreachable!("nobody subscribes")
    }
    fn publish(
        &self,
        _: Subject,
        _: Option<Subject>,
        _: Bytes,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        unreachable!("nobody casts")
    }
    fn flush(&self) -> BoxFuture<'_, ()> {
        unreachable!("nobody flushes")
    }
}

impl Log for Broker {
    fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>> {
        unreachable!("nobody asks")
    }
    fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>> {
        unreachable!("nobody asks")
    }
    fn count_since(&self, _: Duration) -> BoxFuture<'_, Result<u64, Trouble>> {
        unreachable!("nobody asks")
    }
    fn read(&self, _: u64, _: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>> {
        unreachable!("nobody reads")
    }
    fn publish(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<LogAck, Failure>> {
        let asked = self.asked.clone();
        let (subject, id) = (subject.to_owned(), id.to_owned());
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let message = Asked {
                subject,
                id,
                payload,
                answer,
            };
            asked.send(message).unwrap();
            answered.await.unwrap()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_by_another_connection_is_asked_for_again_once_the_log_was_looked_at()
{
    let mut bench = Bench::new();
    let id = "one".to_owned();
    let mut fate = bench.publish(0, Sharing::No { id }, b"1");

    let first = bench.next().await;
    bench.broker.connection.store(2, Ordering::Relaxed);
    first.acknowledge(11, false);
    // Longer than any pause between two attempts: the gate holds it up.
    tokio::time::sleep(3 * BACK_OFF.0).await;
    assert!(bench.asked.try_recv().is_err() && fate.try_recv().is_err());

    bench.looked.set(2);
    let second = bench.next().await;
    assert_eq!(second.id, "one");
    second.acknowledge(11, true);
    let stored = within("its fate", fate).await.unwrap().unwrap();
    assert_eq!((stored.position, stored.is_duplicate), (last_of(11), false));
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_out_in_one_message_and_each_event_is_told_its_own_place() {
    let mut bench = Bench::new();
    let fates = vec![
        bench.publish(1, shared(), b"a"),
        bench.publish(2, shared(), b"b"),
        bench.publish(1, shared(), b"c"),
    ];
    let message = bench.next().await;
    assert_eq!(message.events(), [&b"a"[..], b"b", b"c"]);
    assert_eq!(message.subject, "log.m");
    message.acknowledge(7, false);
    assert_eq!(
        positions(fates).await,
        [first_of(7), first_of(7) + 1, last_of(7)]
    );

    let only = vec![bench.publish(1, shared(), b"d")];
    let message = bench.next().await;
    assert_eq!(message.subject, "log.1", "alone it is what it always was");
    assert_eq!(message.payload, b"d"[..]);
    message.acknowledge(8, false);
    assert_eq!(positions(only).await, [last_of(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_tried_again_is_the_same_message() {
    let mut bench = Bench::new();
    let fates = vec![
        bench.publish(1, shared(), b"a"),
        bench.publish(2, shared(), b"b"),
    ];
    let first = bench.next().await;
    tokio::time::sleep(ATTEMPT + Duration::from_millis(10)).await;
    let late = vec![bench.publish(3, shared(), b"c")];
    let second = bench.next().await;
    assert_eq!((&second.id, &second.payload), (&first.id, &first.payload));
    assert!(bench.is_quiet().await, "nothing new meanwhile");
    second.acknowledge(7, true);
    assert_eq!(positions(fates).await, [first_of(7), last_of(7)]);
    bench.next().await.acknowledge(8, false);
    assert_eq!(positions(late).await, [last_of(8)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_ends_before_what_may_not_be_in_it() {
    let mut bench = Bench::new();
    let elsewhere = || Sharing::Under("other.m".into());
    let alone = |id: &str| Sharing::No { id: id.to_owned() };
    let fates = vec![
        bench.publish(1, shared(), b"a"),
        bench.publish(2, elsewhere(), b"b"),
        bench.publish(3, alone("c"), b"c"),
        bench.publish(4, alone("d"), b"d"),
        // As much as there is room for.
        bench.publish(5, shared(), &[0; 96]),
        bench.publish(6, shared(), &[1; 96]),
        // It waits for the lane, and what is behind it waits with it.
        bench.publish(6, shared(), b"e"),
        bench.publish(7, shared(), b"f"),
    ];
    let mut events = Vec::new();
    for sequence in 1..=6 {
        let message = bench.next().await;
        events.push(message.events().len());
        if sequence == 6 {
            assert!(bench.is_quiet().await, "the lane is busy");
        }
        message.acknowledge(sequence, false);
    }
    assert_eq!(events, [1; 6]);
    let last = bench.next().await;
    assert_eq!(last.events(), [&b"e"[..], b"f"]);
    last.acknowledge(7, false);
    let singles = (1..=6).map(last_of).chain([first_of(7), last_of(7)]);
    assert_eq!(positions(fates).await, singles.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn while_enough_is_on_its_way_events_gather() {
    let mut bench = Bench::new();
    let mut fates = Vec::new();
    let mut sent = Vec::new();
    for lane in 0..GATHERING as u64 {
        fates.push(bench.publish(lane, shared(), b"a"));
        sent.push(bench.next().await);
    }
    let late: Vec<Fate> = (20..23)
        .map(|lane| bench.publish(lane, shared(), b"b"))
        .collect();
    assert!(bench.is_quiet().await);
    sent.remove(0).acknowledge(1, false);
    let gathered = bench.next().await;
    assert_eq!(gathered.events().len(), 3);
    gathered.acknowledge(2, false);
    assert_eq!(positions(late).await.len(), 3);

    // One that is full goes at once.
    fates.push(bench.publish(50, shared(), b"c"));
    sent.push(bench.next().await);
    let full = 100 / codec::OVERHEAD;
    let many: Vec<Fate> = (100..=100 + full as u64)
        .map(|lane| bench.publish(lane, shared(), b""))
        .collect();
    assert_eq!(bench.next().await.events().len(), full);
    assert!(bench.is_quiet().await, "the one that had no room gathers");
    drop((many, sent, fates));
}

#[tokio::test(start_paused = true)]
async fn a_message_holds_so_many_events() {
    let mut bench = Bench::with_room(1 << 20);
    let fates: Vec<Fate> = (0..=PLACES)
        .map(|lane| bench.publish(lane, shared(), b""))
        .collect();
    let full = bench.next().await;
    assert_eq!(full.events().len() as u64, PLACES);
    full.acknowledge(1, false);
    bench.next().await.acknowledge(2, false);
    let all = first_of(1)..=last_of(1);
    let expected: Vec<u64> = all.chain([last_of(2)]).collect();
    assert_eq!(positions(fates).await, expected);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_takes_nobody_along_who_has_not() {
    let mut bench = Bench::new();
    bench.looked.set(0);
    let old = bench.publish(1, shared(), b"old");
    tokio::time::sleep(Duration::from_secs(11)).await;
    let fates = [
        bench.publish(2, shared(), b"a"),
        bench.publish(3, shared(), b"b"),
    ];
    bench.looked.set(1);
    let [first, second] = [bench.next().await, bench.next().await];
    assert_eq!(first.events(), [&b"old"[..]]);
    assert_eq!(second.events(), [&b"a"[..], b"b"]);
    // Nobody answers about either.
    let fate = within("a fate", old).await.unwrap();
    assert_eq!(fate, Err(AppendError::Unanswered));
    for mut fate in fates {
        assert!(fate.try_recv().is_err(), "it has its own time");
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_is_told_what_became_of_the_message() {
    let mut bench = Bench::new();
    let refused = |asked: Asked| assert!(asked.answer.send(Err(Failure::TooLarge)).is_ok());
    let alone = bench.publish(1, shared(), b"a");
    refused(bench.next().await);
    assert_eq!(alone.await.unwrap(), Err(AppendError::TooLarge));

    let together = [1, 2].map(|lane| bench.publish(lane, shared(), b"a"));
    refused(bench.next().await);
    for fate in together {
        // Each of them would have been small enough.
        assert_eq!(fate.await.unwrap(), Err(AppendError::Unanswered));
    }

    let sent = [1, 2].map(|lane| bench.publish(lane, shared(), b"a"));
    let message = bench.next().await;
    let waits = bench.publish(1, shared(), b"b");
    assert!(bench.is_quiet().await);
    bench.publisher.close();
    for fate in sent {
        assert_eq!(fate.await.unwrap(), Err(AppendError::Unanswered));
    }
    assert_eq!(waits.await.unwrap(), Err(AppendError::Closed));
    drop(message);
}
