//! A follower of a log that is the test's.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{PublishError, Subject, SubscribeError};
use bytes::Bytes;
use chatcluster_harness::within;
use futures_util::future::BoxFuture;
use futures_util::stream;
use parking_lot::Mutex;

use super::*;
use crate::cells::{self, Answer, Cells, Change, Found, Page, Write};
use crate::cluster;
use crate::ports::{Letters, Log, LogAck, LogMessage, Wire};
use crate::publisher::Failure;
use crate::testing::names;

const CREATED: i64 = 1;

/// A log of messages 1 to some, when each was logged, and the bucket of its epoch.
#[derive(Default)]
struct Broker {
    connection: AtomicU64,
    published: Mutex<Vec<i64>>,
    epoch: Mutex<Option<Found>>,
}

impl Broker {
    fn state_now(&self) -> LogState {
        LogState {
            created: CREATED,
            first: 1,
            last: self.published.lock().len() as u64,
        }
    }

    fn messages(&self, from: u64) -> Vec<LogMessage> {
        let published = self.published.lock();
        let numbered = (1..).zip(published.iter());
        let read = numbered.filter(|(sequence, _)| *sequence >= from);
        read.map(|(sequence, published)| LogMessage {
            sequence,
            published: *published,
            subject: "of.no.namespace".into(),
            payload: Bytes::from_static(b"x"),
        })
        .collect()
    }
}

impl Log for Broker {
    fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>> {
        Box::pin(async { Ok(Some(self.state_now())) })
    }
    fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>> {
        Box::pin(async { Ok(self.state_now()) })
    }
    fn count_since(&self, _: Duration) -> BoxFuture<'_, Result<u64, Trouble>> {
        unreachable!("it has begun")
    }
    fn read(&self, from: u64, _: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>> {
        Box::pin(async move {
            let there = stream::iter(self.messages(from)).map(Ok);
            Ok(there.chain(stream::pending()).boxed())
        })
    }
    fn publish(&self, _: &str, _: &str, _: Bytes) -> BoxFuture<'static, Result<LogAck, Failure>> {
        unreachable!("nobody publishes")
    }
}

impl Wire for Broker {
    fn is_connected(&self) -> bool {
        true
    }
    fn connection(&self) -> u64 {
        self.connection.load(Ordering::Relaxed)
    }
    fn max_payload(&self) -> usize {
        unreachable!("nobody publishes")
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

impl Cells for Broker {
    fn ensure(&self) -> BoxFuture<'_, Result<(), cluster::Error>> {
        Box::pin(async { Ok(()) })
    }
    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<Answer, cells::Error>> {
        let Change::Put { value, .. } = &write.change else {
            unreachable!("the epoch is never removed");
        };
        let revision = write.expected + 1;
        *self.epoch.lock() = Some(Found {
            revision,
            value: value.clone(),
            is_mark: false,
            id: Some(write.id),
        });
        Box::pin(async move { Ok(Answer::Stored(revision)) })
    }
    fn read<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Found>, cells::Error>> {
        Box::pin(async { Ok(self.epoch.lock().clone()) })
    }
    fn page(&self, _: u64) -> BoxFuture<'_, Result<Page, cells::Error>> {
        unreachable!("nobody lists")
    }
}

/// One that has read the log up to its end, as it is now, before it was started; what it hands on, and its connections.
async fn followed(broker: &Arc<Broker>) -> (mpsc::Receiver<Item>, watch::Sender<u64>) {
    let (connected, connections) = watch::channel(1);
    broker.connection.store(1, Ordering::Relaxed);
    let ports = Ports {
        wire: broker.clone(),
        log: broker.clone(),
        sessions: broker.clone(),
        meta: broker.clone(),
        connections,
    };
    let epoch = Epoch::new(ports.meta.clone());
    let now = within("an epoch", epoch.of(CREATED)).await.unwrap();
    let source = Source {
        ports,
        names: names(),
        options: Arc::new(Options::new("", "test")),
        epoch,
        counters: Arc::default(),
        read_models: Vec::new(),
    };
    let (into, items) = mpsc::channel(8);
    let (health, mut healthy) = watch::channel(Some("not read yet".to_owned()));
    let at = (now, CREATED, broker.state_now().last);
    let follower = Follower::new(
        source,
        at,
        (into, health),
        Arc::default(),
        Arc::new(|| true),
    );
    tokio::spawn(follower.run());
    let reads = healthy.wait_for(Option::is_none);
    within("it reads", reads).await.unwrap();
    (items, connected)
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_set_back_and_filled_again_is_noticed_by_who_was_started_at_its_end() {
    let broker = Arc::new(Broker::default());
    *broker.published.lock() = vec![10, 20, 30];
    let (mut items, connected) = followed(&broker).await;

    *broker.published.lock() = vec![10, 40, 50, 60];
    broker.connection.store(2, Ordering::Relaxed);
    connected.send(2).unwrap();

    let next = within("what it hands on", items.recv()).await;
    assert!(matches!(next, Some(Item::NewEpoch { .. })));
}
