//! Where a replay meets what is sent past the log, where sessions of two epochs meet, and who may have no recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::adapter::{Adapter, Cluster, Local};
use chatcluster_socketio::{
    AckSender, Config, Data, Delivery, Event, NodeId, NotRecovered, Offset, Recovery, SocketIo,
    SocketRef,
};
use serde_json::{Value, json};

use crate::behaviour::{publish, quiet, read_event};
use crate::client::{Carried, Client, Seen, until, within};
use crate::node::{Node, config};

/// Bytes that the kernel holds for a client that does not read: little, so that a replay takes many turns.
const SMALL: Option<u32> = Some(4096);

/// What a client saw of the events and acknowledgements of one emitter, without what others published.
fn words(client: &Client) -> Vec<(String, u64)> {
    let word = |seen: &Seen| match seen {
        Seen::Event { name, .. } if name == "news" => None,
        Seen::Event { name, arg, .. } => Some((name.clone(), arg.as_u64()?)),
        Seen::Ack(_, arg) => Some(("ack".to_owned(), arg.as_u64()?)),
        Seen::Disconnected => Some(("disconnected".to_owned(), 0)),
    };
    client.seen.iter().filter_map(word).collect()
}

/// Everything between the emits: logged, acknowledged, unlogged, logged again, and the sender's own copy of a broadcast.
fn talkative(io: &SocketIo) {
    io.ns("/", async || {})
        .on(
            "work",
            async |s: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                s.emit("first", &n).expect("connected");
                ack.send(&n).expect("an acknowledgement");
                s.emit_unlogged("second", &n).expect("connected");
                s.emit("third", &n).expect("connected");
            },
        )
        .on(
            "say",
            async |s: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                let event = Event::new("own", &n).expect("an event");
                let said = s.namespace().all().append(event, None).decided().await;
                said.expect("an append");
                ack.send(&n).expect("an acknowledgement");
            },
        )
        .on("go", async |s: SocketRef, Data(n): Data<u64>| {
            s.emit("last", &n).expect("connected");
            s.disconnect();
        });
}

/// A client that comes back to megabytes and has not read any of them.
async fn amid_a_replay(node: &Node, events: usize) -> Client {
    let mut client = Client::connect(node.address).await;
    publish(node, "hello", &Value::Null).await;
    read_event(&mut client, "hello").await;
    let carried = client.carried.clone();
    drop(client);
    until("the cut", || node.main().local_len() == 0).await;
    let news = json!("x".repeat(10_000));
    for _ in 0..events {
        publish(node, "news", &news).await;
    }
    let client = Client::open(node.address, Some(&carried), SMALL).await;
    assert!(client.has_recovered(&carried));
    client
}

#[tokio::test]
async fn the_words_of_a_handler_keep_their_order_during_a_replay() {
    const EVENTS: u64 = 40;
    let node = Node::alone(config(), 1, talkative);
    let mut client = amid_a_replay(&node, 800).await;
    for n in 0..EVENTS {
        client.emit("work", &json!(n)).await;
    }
    until("the handlers", || {
        node.io.counters().events_in.get() >= EVENTS
    })
    .await;
    let is_last = |seen: &Seen| matches!(seen, Seen::Event { name, arg, .. } if name == "third" && *arg == EVENTS - 1);
    client.read_until("the last event", 0, is_last).await;
    let each = |n| ["first", "ack", "second", "third"].map(|word| (word.to_owned(), n));
    let expected: Vec<_> = (0..EVENTS).flat_map(each).collect();
    assert_eq!(words(&client), expected);
    assert_eq!(client.args_of("news").len(), 800);
}

#[tokio::test]
async fn an_own_copy_comes_before_the_acknowledgement_during_a_replay() {
    const EVENTS: u64 = 20;
    let node = Node::alone(config(), 1, talkative);
    let mut client = amid_a_replay(&node, 800).await;
    for n in 0..EVENTS {
        client.emit("say", &json!(n)).await;
    }
    until("the handlers", || {
        node.io.counters().events_in.get() >= EVENTS
    })
    .await;
    let is_last = |seen: &Seen| matches!(seen, Seen::Ack(_, arg) if *arg == EVENTS - 1);
    client
        .read_until("the last acknowledgement", 0, is_last)
        .await;
    let each = |n| ["own", "ack"].map(|word| (word.to_owned(), n));
    let expected: Vec<_> = (0..EVENTS).flat_map(each).collect();
    assert_eq!(words(&client), expected);
}

#[tokio::test]
async fn a_disconnect_waits_for_the_emits_before_it_during_a_replay() {
    let node = Node::alone(config(), 1, talkative);
    let mut client = amid_a_replay(&node, 800).await;
    client.emit("go", &json!(7)).await;
    let is_end = |seen: &Seen| *seen == Seen::Disconnected;
    client.read_until("the disconnect", 0, is_end).await;
    let expected = [("last".to_owned(), 7), ("disconnected".to_owned(), 0)];
    assert_eq!(words(&client), expected);
}

#[tokio::test]
async fn the_emits_of_an_earlier_connection_settle_nothing_of_the_next() {
    // The first connection emits and is taken over at once, again and again: its entries come through the log on the second.
    let node = Node::alone(config(), 2, |io| {
        io.ns("/", async |s: SocketRef| {
            for n in 0..50u64 {
                s.emit("earlier", &n).expect("connected");
            }
        })
        .on(
            "work",
            async |s: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                for _ in 0..20 {
                    s.emit("first", &n).expect("connected");
                }
                ack.send(&n).expect("an acknowledgement");
            },
        );
    });
    for round in 0..100u64 {
        let client = Client::connect(node.address).await;
        let carried = client.carried.clone();
        let mut client = Client::resume(node.address, &carried).await;
        assert!(client.has_recovered(&carried));
        client.ask("work", &json!(round)).await;
        let emitted = client.args_of("first");
        assert_eq!(
            emitted.len(),
            20,
            "before the acknowledgement in round {round}"
        );
        client.disconnect().await;
    }
}

async fn publish_to_room(node: &Node, events: usize) {
    let news = json!("x".repeat(10_000));
    for _ in 0..events {
        let event = Event::new("news", &news).expect("an event");
        let decided = node.main().to("room").append(event, None).decided();
        within("an append", decided).await.expect("an append");
    }
}

#[tokio::test]
async fn a_stay_is_remembered_for_a_ping_cycle_after_the_replay_that_showed_its_end() {
    const STAY: usize = 6000;
    let mut config = config();
    config.engine.ping_interval = Duration::from_millis(100);
    // More than the kernel holds for a reader of this pace, behind which pings wait, and than the reader may be held up.
    config.engine.ping_timeout = Duration::from_millis(1500);
    let kept = config.engine.longest_silence();
    config.recovery = Some(Recovery {
        max_replay_bytes: 96 << 20,
        memory_window_bytes: 192 << 20,
        ..Recovery::default()
    });
    let node = Node::alone(config, 1, |io| {
        io.ns("/", async || {})
            .on(
                "join",
                async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
                    s.join(room).await;
                    ack.send(&()).expect("an acknowledgement");
                },
            )
            .on("leave", async |s: SocketRef, Data(room): Data<String>| {
                s.leave(room).await;
            });
    });
    let mut client = Client::connect(node.address).await;
    client.ask("join", &json!("room")).await;
    let carried = client.carried.clone();
    drop(client);
    until("the cut", || node.main().local_len() == 0).await;
    publish_to_room(&node, STAY).await;

    let mut client = Client::open(node.address, Some(&carried), Some(1 << 17)).await;
    assert!(client.has_recovered(&carried));
    client.emit("leave", &json!("room")).await;
    until("the leave", || node.main().local_room_len("room") == 0).await;
    let (left, mut early) = (Instant::now(), Carried::default());
    // It reads so slowly that the replay ends long after the leave.
    for read in 1..=STAY {
        let seen = client.seen.len();
        client.read_until("the stay", seen, |_| true).await;
        if read == STAY / 2 {
            early = client.carried.clone();
        }
        let due = left + kept.mul_f64(1.1 * read as f64 / STAY as f64);
        until("its next look", || Instant::now() >= due).await;
    }
    assert_eq!(client.args_of("news").len(), STAY);
    client.ask("join", &json!("another")).await;
    assert!(left.elapsed() > kept, "the leave alone would be forgotten");
    drop(client);

    let mut client = Client::resume(node.address, &early).await;
    assert!(client.has_recovered(&early));
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert_eq!(
        client.args_of("news").len(),
        STAY / 2,
        "the rest of its stay"
    );
}

/// A client with the offset of a process that has ended, on a session that the next one opened and sent nothing.
async fn with_an_old_offset(node: &Node) -> Carried {
    let mut carried = Client::connect(node.address).await.carried.clone();
    carried.offset = Some("c1.1.1".to_owned());
    until("the cut", || node.main().local_len() == 0).await;
    carried
}

#[tokio::test]
async fn an_offset_of_another_epoch_counts_as_none_if_the_session_was_sent_nothing() {
    let node = Node::alone(config(), 1, quiet);
    let carried = with_an_old_offset(&node).await;
    publish(&node, "news", &json!(1)).await;
    let mut client = Client::resume(node.address, &carried).await;
    assert!(client.has_recovered(&carried));
    read_event(&mut client, "news").await;
    // Now it has been sent something: the old offset is nobody's guess any more.
    drop(client);
    until("the cut", || node.main().local_len() == 0).await;
    let client = Client::resume(node.address, &carried).await;
    assert_ne!(client.carried.pid, carried.pid);
    let refused = &node.io.counters().not_recovered[NotRecovered::Epoch.index()];
    assert_eq!(refused.get(), 1);
}

#[tokio::test]
async fn a_namespace_without_recovery_has_neither_pid_nor_offsets() {
    let node = Node::alone(config(), 1, |io| {
        io.ns("/", async || {}).without_recovery();
    });
    let mut client = Client::connect(node.address).await;
    assert_eq!(client.carried.pid, "");
    publish(&node, "news", &json!(1)).await;
    read_event(&mut client, "news").await;
    assert_eq!(client.carried.offset, None);
}

#[tokio::test]
async fn a_connection_that_connects_again_and_again_is_closed() {
    let config = Config {
        max_connects_per_minute: 5,
        ..config()
    };
    let node = Node::alone(config, 1, quiet);
    let mut client = Client::connect(node.address).await;
    for _ in 0..4 {
        client.rejoin().await;
    }
    client.knock().await;
    client.read_to_end(false).await;
    assert_eq!(node.io.counters().violations.get(), 1);
}

/// The in-process log, which its test can end as a broker's can.
struct Interrupted {
    cluster: Arc<dyn Cluster>,
    locals: Mutex<Vec<Weak<dyn Local>>>,
}

impl Cluster for Interrupted {
    fn open(
        &self,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Arc<dyn Adapter> {
        self.locals.lock().expect("no panic").push(local.clone());
        self.cluster.open(namespace, delivery, local)
    }
}

/// Two clients, one of which has been sent nothing, when the log goes on in this epoch, with a gap or as another one.
async fn interrupted(epoch: impl Fn(u64) -> u64, reason: NotRecovered) {
    let cluster = Arc::new(Interrupted {
        cluster: Memory::default().node(NodeId::new("0")),
        locals: Mutex::default(),
    });
    let node = Node::over(cluster.clone(), config(), 1, quiet);
    let mut client = Client::connect(node.address).await;
    publish(&node, "news", &json!(1)).await;
    read_event(&mut client, "news").await;
    let carried = client.carried.clone();
    let mut unsent = Client::connect(node.address).await;
    let position = node.main().position() + 1;
    let offset = carried.offset.as_deref().expect("an offset");
    let epoch = epoch(offset.parse::<Offset>().expect("ours").epoch);
    for local in cluster.locals.lock().expect("no panic").iter() {
        local.upgrade().expect("it lives").restart(epoch, position);
    }
    client.read_to_end(false).await;
    unsent.read_to_end(false).await;
    let mut again = Client::resume(node.address, &carried).await;
    assert_ne!(
        again.carried.pid, carried.pid,
        "it may have missed something"
    );
    let unsent_again = Client::resume(node.address, &unsent.carried).await;
    assert_ne!(unsent_again.carried.pid, unsent.carried.pid);
    let refused = &node.io.counters().not_recovered;
    assert_eq!(refused[reason.index()].get(), 2, "{}", reason.as_str());
    publish(&node, "news", &json!(2)).await;
    publish(&node, "news", &json!(3)).await;
    read_event(&mut again, "news").await;
    let offset = again.carried.offset.as_deref().expect("an offset");
    let offset: Offset = offset.parse().expect("ours");
    assert_eq!(offset.epoch, epoch);
    assert!(offset.position > position, "the log goes on after it");
}

#[tokio::test]
async fn a_gap_in_the_log_ends_every_session_and_is_told_as_one() {
    interrupted(|epoch| epoch, NotRecovered::Gap).await;
}

#[tokio::test]
async fn another_log_ends_every_session_and_is_told_as_one() {
    interrupted(|epoch| epoch + 1, NotRecovered::Epoch).await;
}

#[tokio::test]
async fn who_is_there_when_the_log_ends_hears_nothing_of_the_next_one() {
    let cluster = Arc::new(Interrupted {
        cluster: Memory::default().node(NodeId::new("0")),
        locals: Mutex::default(),
    });
    let node = Node::over(cluster.clone(), config(), 1, quiet);
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(Client::connect(node.address).await);
    }
    publish(&node, "news", &json!(1)).await;
    for client in &mut clients {
        read_event(client, "news").await;
    }
    let epoch_of = |client: &Client| {
        let offset = client.carried.offset.as_deref().expect("an offset");
        offset.parse::<Offset>().expect("ours").epoch
    };
    let (epoch, position) = (epoch_of(&clients[0]), node.main().position() + 1);
    let (namespace, has_ended) = (node.main(), Arc::new(AtomicBool::new(false)));
    let (begins, has_begun) = std::sync::mpsc::channel();
    let talker = std::thread::spawn({
        let has_ended = has_ended.clone();
        move || {
            while !has_ended.load(Ordering::Relaxed) {
                namespace.all().local().emit("talk", &1).expect("an event");
                // Told more than once, it is only the first that is waited for.
                let _told = begins.send(());
            }
        }
    });
    has_begun.recv().expect("it talks");
    for local in cluster.locals.lock().expect("no panic").iter() {
        let local = local.upgrade().expect("it lives");
        local.restart(epoch + 1, position);
    }
    has_ended.store(true, Ordering::Relaxed);
    talker.join().expect("it talks");

    for client in &mut clients {
        client.read_to_end(false).await;
        assert_eq!(epoch_of(client), epoch);
    }
}

#[tokio::test]
async fn who_speaks_of_a_log_whose_sessions_are_lost_is_told_that_it_is_another() {
    let node = Node::alone(config(), 1, quiet);
    let mut carried = Client::connect(node.address).await.carried.clone();
    carried.pid.clone_from(&carried.sid);
    carried.offset = Some("c1.1.1".to_owned());
    let client = Client::resume(node.address, &carried).await;
    assert_ne!(client.carried.pid, carried.pid);
    let refused = &node.io.counters().not_recovered;
    assert_eq!(refused[NotRecovered::Epoch.index()].get(), 1);
}

#[tokio::test]
async fn a_node_that_joins_a_namespace_later_recovers_nobody_with_a_hole() {
    let cluster = Memory::default();
    let dynamic = |io: &SocketIo| {
        io.dynamic_ns(|name, _| name == "/", async || {});
    };
    let first = Node::start(&cluster, 0, config(), 1, dynamic);
    let second = Node::start(&cluster, 1, config(), 1, dynamic);
    let mut client = Client::connect(first.address).await;
    publish(&first, "news", &json!(1)).await;
    read_event(&mut client, "news").await;
    let carried = client.carried.clone();
    drop(client);
    publish(&first, "news", &json!(2)).await;

    // The second node has never heard of the namespace.
    let mut client = Client::resume(second.address, &carried).await;
    publish(&first, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert_ne!(
        client.carried.pid, carried.pid,
        "what came before is not here"
    );
    let refused = &second.io.counters().not_recovered[NotRecovered::Gap.index()];
    assert_eq!(refused.get(), 1);
}
