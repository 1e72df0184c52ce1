use std::slice::from_ref;

use super::*;
use crate::answers::MAX_ANSWERING;
use crate::testing::{connect, join, names, ports};
use async_nats::Client;
use chatcluster_harness::nats::Options;
use chatcluster_harness::{DEADLINE, NatsServer, Proxy, until, within};
use chatcluster_socketio::adapter::{Answer, RemoteSocket, Selection, Swept};
use chatcluster_socketio::log::{Entry, Target};
use chatcluster_socketio::session::StoreError;
use chatcluster_socketio::{Event, NodeId, Sid};
use futures_util::future::{FutureExt as _, join_all, pending, ready};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

const NAMESPACE: &str = "/chat";

/// A namespace that answers in one way.
struct Fake {
    way: Way,
    received: Mutex<Vec<Cast>>,
}

enum Way {
    Done(usize),
    Never,
    /// When it is opened.
    Gate(watch::Sender<bool>),
    Large(usize),
}

impl Local for Fake {
    fn advance(&self, _: u64) {}
    fn deliver(&self, _: &Arc<Entry>) {}

    fn members(&self) -> usize {
        0
    }
    fn has_members(&self) -> bool {
        false
    }

    fn restart(&self, _: u64, _: u64) {}

    fn receive(&self, cast: Cast) {
        self.received.lock().push(cast);
    }

    fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Answer> {
        match &self.way {
            Way::Done(count) => ready(Answer::Done(*count)).boxed(),
            Way::Never => pending().boxed(),
            Way::Gate(gate) => {
                let mut gate = gate.subscribe();
                async move {
                    gate.wait_for(|is_open| *is_open).await.unwrap();
                    Answer::Done(1)
                }
                .boxed()
            }
            Way::Large(bytes) => {
                let socket = RemoteSocket {
                    id: "x".repeat(*bytes),
                    node: String::new(),
                    rooms: Vec::new(),
                    data: serde_json::Value::Null,
                };
                ready(Answer::Sockets(vec![socket])).boxed()
            }
        }
    }

    fn assert(self: Arc<Self>, _: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
        ready(Ok(false)).boxed()
    }
}

struct Node {
    id: NodeId,
    ephemeral: Ephemeral,
    local: Arc<Fake>,
    counters: Arc<Counters>,
    peers: Arc<Peers>,
    client: Client,
    _absent: Task,
}

/// Ended when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    /// A node that has opened the namespace.
    async fn start(address: std::net::SocketAddr, name: &str, way: Way) -> Self {
        let node = Self::begin(address, name, way).await;
        assert!(within("it is open", node.ephemeral.opened()).await);
        node
    }

    async fn begin(address: std::net::SocketAddr, name: &str, way: Way) -> Self {
        Self::begin_in(NAMESPACE, address, name, way).await
    }

    async fn begin_in(
        namespace: &str,
        address: std::net::SocketAddr,
        name: &str,
        way: Way,
    ) -> Self {
        let client = connect(address).await;
        let (peers, counters) = join(&client, name).await;
        let broker = Broker {
            wire: ports(&client).wire,
            names: names(),
            peers: peers.clone(),
            counters: counters.clone(),
            served: Arc::default(),
        };
        let absent = Task(tokio::spawn(crate::absent::serve(broker.clone())));
        let local = Arc::new(Fake {
            way,
            received: Mutex::default(),
        });
        let weak: Weak<dyn Local> = Arc::downgrade(&(local.clone() as Arc<dyn Local>));
        Self {
            id: NodeId::new(name),
            ephemeral: Ephemeral::open(broker, namespace, weak),
            local,
            counters,
            peers,
            client,
            _absent: absent,
        }
    }

    fn ask(&self, time: Duration) -> BoxFuture<'static, Answers> {
        self.ephemeral.request(Request::Fetch(all()), time)
    }

    fn received(&self) -> Vec<Cast> {
        self.local.received.lock().clone()
    }
}

fn all() -> Selection {
    Selection {
        target: Target::All,
        except: [].into_iter().collect(),
    }
}

fn volatile(n: usize) -> Cast {
    let event = Event::new("e", &n).unwrap();
    Cast::Volatile { to: all(), event }
}

fn eviction(revision: u64) -> Cast {
    let sid = Sid::parse("AAAAAAAAAAAAAAAAAAAA").unwrap();
    Cast::Evict { sid, revision }
}

fn done(answers: &Answers) -> Vec<(&str, usize)> {
    let done = answers.answers.iter().map(|(node, answer)| match answer {
        Answer::Done(count) => (node.as_str(), *count),
        other => panic!("{other:?}"),
    });
    done.collect()
}

async fn server() -> NatsServer {
    NatsServer::start(Options::default()).await
}

async fn pair(server: &NatsServer, b: Way) -> [Node; 2] {
    let a = Node::start(server.address(), "a", Way::Done(1)).await;
    let b = Node::start(server.address(), "b", b).await;
    know(&[&a, &b]).await;
    [a, b]
}

async fn know(nodes: &[&Node]) {
    until("all know all", || {
        nodes.iter().all(|node| node.peers.count() == nodes.len())
    })
    .await;
}

#[tokio::test]
async fn a_request_collects_the_answers_of_all_others() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    let c = Node::start(server.address(), "c", Way::Done(3)).await;
    know(&[&a, &b, &c]).await;
    let answers = within("answers", a.ask(DEADLINE)).await;
    assert_eq!(done(&answers), [("b", 2), ("c", 3)]);
    assert_eq!(answers.missing, []);
    let answers = within("answers", c.ask(DEADLINE)).await;
    assert_eq!(done(&answers), [("a", 1), ("b", 2)]);
}

#[tokio::test]
async fn a_lone_node_asks_nobody() {
    let server = server().await;
    let a = Node::begin(server.address(), "a", Way::Done(1)).await;
    let answers = a.ask(DEADLINE).now_or_never().unwrap();
    assert!(answers.answers.is_empty() && answers.missing.is_empty());
}

#[tokio::test]
async fn a_namespace_asks_before_its_subscriptions_are_confirmed() {
    let server = server().await;
    let b = Node::start(server.address(), "b", Way::Done(2)).await;
    let client = connect(server.address()).await;
    let (peers, counters) = join(&client, "a").await;
    until("a knows b", || peers.count() == 2).await;
    let broker = Broker {
        wire: ports(&client).wire,
        names: names(),
        peers,
        counters,
        served: Arc::default(),
    };
    let a = Ephemeral::open(broker, NAMESPACE, Weak::<Fake>::new());
    let answers = a.request(Request::Fetch(all()), DEADLINE);
    assert_eq!(done(&within("answers", answers).await), [("b", 2)]);
    drop(b);
}

#[tokio::test]
async fn the_silent_node_is_missing_when_the_time_is_up() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Never).await;
    let c = Node::start(server.address(), "c", Way::Done(3)).await;
    know(&[&a, &b, &c]).await;
    let time = Duration::from_secs(2);
    let start = Instant::now();
    let answers = within("answers", a.ask(time)).await;
    assert!(start.elapsed() >= time);
    assert_eq!(done(&answers), [("c", 3)]);
    assert_eq!(answers.missing, from_ref(&b.id));
    assert_eq!(a.counters.answers_missing.get(), 1);
    until("b gives up", || b.counters.requests_late.get() == 1).await;
}

#[tokio::test]
async fn a_node_that_does_not_serve_the_namespace_is_neither_waited_for_nor_missing() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    let c = Node::begin_in("/other", server.address(), "c", Way::Never).await;
    assert!(within("it is open", c.ephemeral.opened()).await);
    know(&[&a, &b, &c]).await;
    let answers = within("answers", a.ask(Duration::from_secs(60))).await;
    assert_eq!(done(&answers), [("b", 2)]);
    assert_eq!(answers.missing, []);
    assert_eq!(a.counters.answers_missing.get(), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_node_that_died_or_left() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Never).await;
    let c = Node::start(server.address(), "c", Way::Never).await;
    know(&[&a, &b, &c]).await;
    let answers = a.ask(Duration::from_secs(60));
    // One without a word, one with a farewell.
    let (b_id, c_id) = (b.id.clone(), c.id.clone());
    let left = c.peers.clone();
    drop(b);
    within("a farewell", left.close()).await;
    let answers = within("answers", answers).await;
    assert!(answers.answers.is_empty());
    assert_eq!(answers.missing, [b_id, c_id]);
}

#[tokio::test]
async fn a_namespace_that_has_ended_is_not_waited_for() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    let Node {
        ephemeral, local, ..
    } = b;
    drop(local);
    let answers = within("answers", a.ask(Duration::from_secs(60))).await;
    assert_eq!(answers.missing, [NodeId::new("b")]);
    drop(ephemeral);
}

#[tokio::test]
async fn a_closed_namespace_ends_its_questions() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Never).await;
    let answers = a.ask(Duration::from_secs(60));
    a.ephemeral.close();
    let answers = within("answers", answers).await;
    assert_eq!(answers.missing, from_ref(&b.id));
    let answers = a.ask(Duration::from_secs(60)).now_or_never().unwrap();
    assert_eq!(answers.missing, [b.id]);
}

#[tokio::test]
async fn more_requests_than_can_be_answered_at_once_are_refused_and_missing() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Gate(watch::Sender::new(false))).await;
    let held: Vec<_> = (0..MAX_ANSWERING).map(|_| a.ask(DEADLINE)).collect();
    let refused = within("a refusal", a.ask(Duration::from_secs(60))).await;
    assert_eq!(refused.missing, [b.id]);
    assert_eq!(b.counters.requests_refused.get(), 1);
    let Way::Gate(gate) = &b.local.way else {
        unreachable!()
    };
    gate.send_replace(true);
    for answers in within("answers", join_all(held)).await {
        assert_eq!(done(&answers), [("b", 1)]);
    }
    let answers = within("answers", a.ask(DEADLINE)).await;
    assert_eq!(done(&answers), [("b", 1)]);
}

#[tokio::test]
async fn what_the_broker_would_not_carry_is_not_published() {
    let options = Options::default().with_settings("max_payload: 32KB");
    let server = NatsServer::start(options).await;
    let [a, b] = pair(&server, Way::Large(40_000)).await;
    let answers = within("answers", a.ask(Duration::from_secs(60))).await;
    assert_eq!(answers.missing, from_ref(&b.id));
    assert_eq!(a.counters.messages_too_large.get(), 1);
    assert_eq!(b.counters.messages_too_large.get(), 1);

    let event = Event::new("e", &"x".repeat(40_000)).unwrap();
    a.ephemeral.cast(&Cast::ServerSide {
        event: event.clone(),
    });
    let request = Request::ServerSide { event };
    let asked = a.ephemeral.request(request, Duration::from_secs(60));
    assert_eq!(asked.now_or_never().unwrap().missing, from_ref(&b.id));
    assert_eq!(a.counters.messages_too_large.get(), 3);
    // The connection has stood all that.
    a.ephemeral.cast(&volatile(1));
    until("a cast arrives", || b.received() == [volatile(1)]).await;
}

#[tokio::test]
async fn casts_arrive_in_order_and_none_at_their_sender() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    let c = Node::start(server.address(), "c", Way::Done(3)).await;
    let sent: Vec<_> = (0..600)
        .map(|n| match n % 3 {
            0 => volatile(n),
            1 => eviction(n as u64),
            _ => Cast::ServerSide {
                event: Event::new("s", &n).unwrap(),
            },
        })
        .collect();
    for cast in &sent {
        a.ephemeral.cast(cast);
    }
    until("b and c have all", || {
        b.received().len() >= 600 && c.received().len() >= 600
    })
    .await;
    assert_eq!(b.received(), sent);
    assert_eq!(c.received(), sent);
    // Behind all of them on the wire.
    b.ephemeral.cast(&volatile(7));
    until("a gets something", || !a.received().is_empty()).await;
    assert_eq!(a.received(), [volatile(7)]);
}

#[tokio::test]
async fn another_release_is_counted_and_not_believed() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    let client = &a.client;
    let mut newer = codec::encode(&(&a.id, volatile(1))).unwrap().to_vec();
    newer[0] = codec::NEXT + 1;
    let replies = b.ephemeral.link.subjects.replies.to_string();
    for subject in [names().cast(NAMESPACE), names().ask(NAMESPACE), replies] {
        let publish = client.publish(subject, newer.clone().into());
        within("a publish", publish).await.unwrap();
    }
    client.flush().await.unwrap();
    a.ephemeral.cast(&volatile(2));
    let unreadable = |node: &Node| node.counters.messages_unreadable.get();
    until("a known one arrives", || b.received() == [volatile(2)]).await;
    until("all are counted", || unreadable(&b) == 3).await;
    let answers = within("answers", a.ask(DEADLINE)).await;
    assert_eq!(done(&answers), [("b", 2)]);
}

#[tokio::test]
async fn without_a_connection_a_cast_is_dropped_and_an_eviction_kept() {
    let server = server().await;
    let proxy = Proxy::before(server.address());
    let b = Node::start(server.address(), "b", Way::Done(2)).await;
    let a = Node::start(proxy.address(), "a", Way::Done(1)).await;
    know(&[&a, &b]).await;
    proxy.cut().await;
    until("a notices", || !a.ephemeral.link.is_connected()).await;
    a.ephemeral.cast(&volatile(1));
    a.ephemeral.cast(&eviction(2));
    assert_eq!(a.counters.messages_unsent.get(), 1);
    let asked = a.ask(Duration::from_secs(60)).now_or_never().unwrap();
    assert_eq!(asked.missing, from_ref(&b.id));
    proxy.heal().await;
    until("the eviction arrives", || b.received() == [eviction(2)]).await;
    until("a is back", || a.ephemeral.link.is_connected()).await;
    let answers = within("answers", a.ask(DEADLINE)).await;
    assert_eq!(done(&answers), [("b", 2)]);
}

#[tokio::test]
async fn what_was_cast_before_the_end_is_published_and_nothing_received_after_it() {
    let server = server().await;
    let [a, b] = pair(&server, Way::Done(2)).await;
    for n in 0..500 {
        a.ephemeral.cast(&volatile(n));
    }
    a.ephemeral.close();
    until("b has all", || b.received().len() == 500).await;
    b.ephemeral.cast(&volatile(1));
    a.ephemeral.cast(&volatile(2));
    assert_eq!(a.counters.messages_unsent.get(), 1);
    assert!(!within("it is closed", a.ephemeral.opened()).await);
    // Later on the same wire than the cast that a must not get.
    b.peers.set_has_log(true);
    until("a heard b", || a.peers.others_with_log() == [b.id.clone()]).await;
    assert_eq!(a.received(), []);
}
