//! Sessions that are claimed while something else happens to them: by two connections, or by one that has gone already.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::adapter::{Adapter, Answers, Cast, Cluster, Local, Request};
use chatcluster_socketio::log::{AppendDone, Entry, Envelope, Record as Stored};
use chatcluster_socketio::session::{Record, Revision, Sessions, StoreError};
use chatcluster_socketio::{
    AckSender, Data, Delivery, NodeId, NotRecovered, SessionKey, SocketIo, SocketRef,
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::behaviour::{publish, quiet, read_event};
use crate::client::{Carried, Client, Seen, until};
use crate::node::{Node, config};

type Answered<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The in-process cluster, whose session store answers when the test lets it: writes are done at once, removals then.
struct Slow {
    inner: Arc<dyn Cluster>,
    holds: Arc<Holds>,
}

struct Holds {
    /// Writes that are answered at once before the next ones are held.
    free: Semaphore,
    /// Answers to those that were held.
    late: Semaphore,
    held: Mutex<usize>,
    /// Reads after which the last owner writes, before the reader does.
    interfered: Mutex<usize>,
    /// New sessions whose storing is done, and not heard of.
    unheard: Mutex<usize>,
    created: Mutex<Vec<SessionKey>>,
    expired: Mutex<Vec<SessionKey>>,
    /// What sessions were updated to, by takeovers and later.
    updated: Mutex<Vec<Record>>,
}

impl Holds {
    fn updated(&self) -> Vec<Record> {
        self.updated.lock().expect("no panic").clone()
    }

    async fn answer(&self) {
        if let Ok(free) = self.free.try_acquire() {
            return free.forget();
        }
        *self.held.lock().expect("no panic") += 1;
        self.late.acquire().await.expect("never closed").forget();
    }

    fn interferes(&self) -> bool {
        let mut left = self.interfered.lock().expect("no panic");
        let interferes = *left > 0;
        *left = left.saturating_sub(1);
        interferes
    }

    fn is_unheard(&self, created: SessionKey) -> bool {
        self.created.lock().expect("no panic").push(created);
        let mut left = self.unheard.lock().expect("no panic");
        let is_unheard = *left > 0;
        *left = left.saturating_sub(1);
        is_unheard
    }

    fn held(&self) -> usize {
        *self.held.lock().expect("no panic")
    }
}

impl Cluster for Slow {
    fn open(
        &self,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Arc<dyn Adapter> {
        let inner = self.inner.open(namespace, delivery, local);
        Arc::new(SlowAdapter {
            sessions: SlowSessions {
                inner: inner.clone(),
                holds: self.holds.clone(),
            },
            inner,
        })
    }
}

struct SlowAdapter {
    inner: Arc<dyn Adapter>,
    sessions: SlowSessions,
}

impl Adapter for SlowAdapter {
    fn node(&self) -> &NodeId {
        self.inner.node()
    }
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
    fn start_position(&self) -> u64 {
        self.inner.start_position()
    }
    fn read_log(
        &self,
        after: u64,
        through: u64,
    ) -> BoxFuture<'static, Result<Vec<Arc<Entry>>, NotRecovered>> {
        self.inner.read_log(after, through)
    }
    fn opened(&self) -> BoxFuture<'static, ()> {
        self.inner.opened()
    }
    fn append(&self, envelope: Envelope, record: Option<Stored>, done: AppendDone) {
        self.inner.append(envelope, record, done);
    }
    fn cast(&self, cast: Cast) {
        self.inner.cast(cast);
    }
    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers> {
        self.inner.request(request, timeout)
    }
    fn node_count(&self) -> usize {
        self.inner.node_count()
    }
    fn members_elsewhere(&self) -> usize {
        self.inner.members_elsewhere()
    }
    fn sessions(&self) -> &dyn Sessions {
        &self.sessions
    }
    fn close(&self) {
        self.inner.close();
    }
}

struct SlowSessions {
    inner: Arc<dyn Adapter>,
    holds: Arc<Holds>,
}

impl Sessions for SlowSessions {
    fn create(&self, key: SessionKey, record: Record) -> Answered<'_, Revision> {
        Box::pin(async move {
            let answer = self.inner.sessions().create(key, record).await;
            self.holds.answer().await;
            if self.holds.is_unheard(key) {
                return Err(StoreError::Unreachable);
            }
            answer
        })
    }
    fn get(&self, key: SessionKey) -> Answered<'_, (Record, Revision)> {
        Box::pin(async move {
            let (record, revision) = self.inner.sessions().get(key).await?;
            if self.holds.interferes() {
                let written = record.clone();
                self.inner.sessions().update(key, revision, written).await?;
            }
            Ok((record, revision))
        })
    }
    fn take(&self, key: SessionKey, expected: Revision, record: Record) -> Answered<'_, Revision> {
        self.update(key, expected, record)
    }
    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> Answered<'_, Revision> {
        Box::pin(async move {
            let written = record.clone();
            let answer = self.inner.sessions().update(key, expected, record).await;
            self.holds.updated.lock().expect("no panic").push(written);
            self.holds.answer().await;
            answer
        })
    }
    fn expire(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        window: Duration,
    ) -> Answered<'_, ()> {
        self.holds.expired.lock().expect("no panic").push(key);
        self.inner.sessions().expire(key, expected, record, window)
    }
    fn remove(&self, key: SessionKey, expected: Revision, takeovers: u32) -> Answered<'_, ()> {
        Box::pin(async move {
            self.holds.answer().await;
            let sessions = self.inner.sessions();
            sessions.remove(key, expected, takeovers).await
        })
    }
}

/// A node whose store answers the first `free` writes at once.
fn slow(free: usize) -> (Node, Arc<Holds>) {
    slow_node(&Memory::default(), 0, free, quiet)
}

/// The same, as one of several nodes.
fn slow_node(
    cluster: &Memory,
    index: usize,
    free: usize,
    set_up: impl FnOnce(&SocketIo),
) -> (Node, Arc<Holds>) {
    let holds = Arc::new(Holds {
        free: Semaphore::new(free),
        late: Semaphore::new(0),
        held: Mutex::new(0),
        interfered: Mutex::new(0),
        unheard: Mutex::new(0),
        created: Mutex::default(),
        expired: Mutex::default(),
        updated: Mutex::default(),
    });
    let cluster = Slow {
        inner: cluster.node(NodeId::new(&index.to_string())),
        holds: holds.clone(),
    };
    (Node::over(Arc::new(cluster), config(), 1, set_up), holds)
}

#[tokio::test]
async fn a_connection_that_ends_before_it_has_its_session_leaves_it_to_its_window() {
    let (node, holds) = slow(0);
    let address = node.address;
    let connecting = tokio::spawn(async move { Client::connect(address).await });
    until("the session is stored", || holds.held() == 1).await;
    connecting.abort();
    until("the connection has ended", || {
        node.io.engine().session_count() == 0
    })
    .await;
    holds.late.add_permits(1);
    until("the session has its window", || {
        holds.expired.lock().expect("no panic").len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_takeover_that_was_overtaken_does_not_displace_the_later_one() {
    let (node, holds) = slow(1);
    let first = Client::connect(node.address).await;
    let carried = first.carried.clone();
    let (address, claimed) = (node.address, carried.clone());
    let slower = tokio::spawn(async move { Client::resume(address, &claimed).await });
    until("the slower takeover has the session", || holds.held() == 1).await;
    // Everything after it is answered at once.
    holds.free.add_permits(1000);
    let mut faster = Client::resume(node.address, &carried).await;
    assert!(faster.has_recovered(&carried));
    holds.late.add_permits(1);
    let slower = slower.await;
    assert!(slower.is_err(), "it was never let in");

    let own = node.main().local_sockets();
    assert_eq!(own.len(), 1);
    own[0].emit("yours", &json!(1)).expect("connected");
    read_event(&mut faster, "yours").await;
    drop(first);
}

#[tokio::test]
async fn a_client_that_is_disconnected_is_told_when_its_session_has_ended() {
    let (node, holds) = slow(1);
    let mut client = Client::connect(node.address).await;
    let carried = client.carried.clone();
    node.main().local_sockets()[0].disconnect();
    until("the session is being removed", || holds.held() == 1).await;
    client.read_available();
    assert!(
        client.seen.is_empty(),
        "it could still have its session back"
    );
    holds.free.add_permits(1000);
    holds.late.add_permits(1);
    let told = |seen: &Seen| *seen == Seen::Disconnected;
    client.read_until("the disconnect", 0, told).await;
    let again = Client::resume(node.address, &carried).await;
    assert_ne!(again.carried.pid, carried.pid);
}

#[tokio::test]
async fn what_the_last_owner_writes_at_that_moment_costs_nobody_the_session() {
    let (node, holds) = slow(1000);
    let client = Client::connect(node.address).await;
    let carried = client.carried.clone();
    *holds.interfered.lock().expect("no panic") = 2;
    let client = Client::resume(node.address, &carried).await;
    assert!(client.has_recovered(&carried));
}

#[tokio::test]
async fn a_new_session_whose_storing_was_not_heard_of_is_opened_once() {
    let (node, holds) = slow(1000);
    *holds.unheard.lock().expect("no panic") = 2;
    let client = Client::connect(node.address).await;
    let created = holds.created.lock().expect("no panic").clone();
    assert_eq!(created.len(), 3, "it was stored until it was heard of");
    assert!(created.iter().all(|key| *key == created[0]));
    // What it holds is what is stored: its writes are not refused.
    let carried = client.carried.clone();
    let back = Client::resume(node.address, &carried).await;
    assert!(back.has_recovered(&carried));
    drop(client);
}

fn rooms(io: &SocketIo) {
    io.ns("/", async || {}).on(
        "join",
        async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            s.join(room).await;
            ack.send(&()).expect("an acknowledgement");
        },
    );
}

/// What a client takes along that was cut off after an event, and has missed so many more.
async fn missed(node: &Node, events: usize) -> Carried {
    let mut client = Client::connect(node.address).await;
    client.ask("join", &json!("room")).await;
    publish(node, "hello", &Value::Null).await;
    read_event(&mut client, "hello").await;
    let carried = client.carried.clone();
    drop(client);
    until("the cut", || node.main().local_len() == 0).await;
    let news = json!("x".repeat(10_000));
    for _ in 0..events {
        publish(node, "news", &news).await;
    }
    carried
}

#[tokio::test]
async fn a_recovered_session_is_written_once_however_much_was_missed() {
    let (node, holds) = slow_node(&Memory::default(), 0, 1000, rooms);
    // Nothing, what is replayed at once, and what takes many turns.
    for events in [0, 3, 400] {
        let carried = missed(&node, events).await;
        let before = holds.updated().len();
        let mut client = Client::resume(node.address, &carried).await;
        assert!(client.has_recovered(&carried));
        publish(&node, "end", &Value::Null).await;
        read_event(&mut client, "end").await;
        assert_eq!(client.args_of("news").len(), events);
        client.ask("join", &json!("another")).await;
        let written = holds.updated().split_off(before);
        let stays = written.iter().map(|record| record.intervals.len());
        assert_eq!(
            stays.collect::<Vec<_>>(),
            [1, 2],
            "by the takeover, and by the join"
        );
        assert!(written[0].is_connected && written[0].is_caught_up);
        client.disconnect().await;
    }
}

#[tokio::test]
async fn who_takes_a_session_elsewhere_is_heard_of_before_there_is_a_socket() {
    let cluster = Memory::default();
    let (first, holds) = slow_node(&cluster, 0, 1, quiet);
    let second = Node::start(&cluster, 1, config(), 1, quiet);
    let client = Client::connect(first.address).await;
    let carried = client.carried.clone();
    let (address, claimed) = (first.address, carried.clone());
    let slower = tokio::spawn(async move { Client::resume(address, &claimed).await });
    until("the slower takeover has the session", || holds.held() == 1).await;
    let mut faster = Client::resume(second.address, &carried).await;
    assert!(faster.has_recovered(&carried));
    // What is cast comes before what is logged after it.
    publish(&second, "news", &json!(1)).await;
    read_event(&mut faster, "news").await;
    let position = second.main().position();
    until("the first node has read that", || {
        first.main().position() >= position
    })
    .await;
    holds.free.add_permits(1000);
    holds.late.add_permits(1);
    assert!(slower.await.is_err(), "it was never let in");
    assert_eq!(first.main().local_len(), 0);
    drop(client);
}

#[tokio::test]
async fn a_replay_that_takes_long_is_stored_as_such_until_it_has_ended() {
    const EVENTS: usize = 1500;
    let (node, holds) = slow_node(&Memory::default(), 0, 1000, rooms);
    let carried = missed(&node, EVENTS).await;
    let mut client = Client::open(node.address, Some(&carried), Some(4096)).await;
    assert!(client.has_recovered(&carried));
    let before = holds.updated().len();
    // It reads nothing.
    until("it is stored that it lacks something", || {
        holds.updated().len() > before
    })
    .await;
    assert!(!holds.updated()[before].is_caught_up);
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert_eq!(client.args_of("news").len(), EVENTS);
    until("it is stored that it lacks nothing", || {
        holds.updated().len() > before + 1
    })
    .await;
    assert!(holds.updated()[before + 1].is_caught_up);
}

#[tokio::test]
async fn a_room_that_is_joined_already_costs_no_write() {
    let (node, holds) = slow_node(&Memory::default(), 0, 1000, rooms);
    let mut client = Client::connect(node.address).await;
    for room in ["one", "one", "two", "one"] {
        client.ask("join", &json!(room)).await;
    }
    let written = holds.updated();
    let stays = written.iter().map(|record| record.intervals.len());
    assert_eq!(stays.collect::<Vec<_>>(), [1, 2]);
}
