//! One property each: order on the wire, closing, panics, the bounds of replay, inbox and send queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chatcluster_socketio::{
    AckSender, Config, Data, Event, NotRecovered, Recovery, SocketIo, SocketRef,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{Carried, Client, Seen, until, within};
use crate::node::{Node, config};

pub(crate) fn quiet(io: &SocketIo) {
    io.ns("/", async || {});
}

/// Logs an event to everybody; returns when it is there.
pub(crate) async fn publish(node: &Node, event: &str, arg: &Value) {
    let event = Event::new(event, arg).expect("an event");
    let decided = node.main().all().append(event, None).decided();
    within("an append", decided).await.expect("an append");
}

pub(crate) async fn read_event(client: &mut Client, event: &str) {
    let is_it = |seen: &Seen| matches!(seen, Seen::Event { name, .. } if name == event);
    client.read_until(event, 0, is_it).await;
}

#[tokio::test]
async fn interleaved_emits_and_acknowledgements_keep_their_order() {
    const EVENTS: u64 = 300;
    let node = Node::alone(config(), 1, |io| {
        io.ns("/", async || {}).on(
            "work",
            async |s: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                s.emit("first", &n).expect("connected");
                ack.send(&n).expect("an acknowledgement");
                s.emit_unlogged("second", &n).expect("connected");
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                s.emit("third", &n).expect("connected");
            },
        );
    });
    let mut client = Client::connect(node.address).await;
    for n in 0..EVENTS {
        assert_eq!(client.emit("work", &json!(n)).await, n);
    }
    let is_last = |seen: &Seen| matches!(seen, Seen::Event { name, arg, .. } if name == "third" && *arg == EVENTS - 1);
    client.read_until("the last event", 0, is_last).await;
    let seen = client.seen.iter().map(|seen| match seen {
        Seen::Event { name, arg, .. } => (name.clone(), arg.as_u64()),
        Seen::Ack(id, arg) => {
            assert_eq!(arg, id, "an acknowledgement of something else");
            ("ack".to_owned(), arg.as_u64())
        }
        Seen::Disconnected => ("disconnected".to_owned(), None),
    });
    let each = |n| ["first", "ack", "second", "third"].map(|name| (name.to_owned(), Some(n)));
    let expected: Vec<_> = (0..EVENTS).flat_map(each).collect();
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn closing_ends_within_the_bound_even_with_a_peer_that_does_not_read() {
    const BOUND: Duration = Duration::from_millis(500);
    let node = Node::alone(config(), 1, quiet);
    let client = Client::open(node.address, None, Some(4096)).await;
    let blob = json!("x".repeat(200_000));
    let session = node.io.engine().sessions().pop().expect("a session");
    within("a queue that stays", async {
        while session.queued_bytes() < 1_000_000 {
            publish(&node, "blob", &blob).await;
        }
    })
    .await;
    let begun = Instant::now();
    within("the end of closing", node.io.close(BOUND)).await;
    assert!(begun.elapsed() < BOUND * 3, "took {:?}", begun.elapsed());
    assert_eq!(node.io.engine().session_count(), 0);
    drop(client);
}

#[tokio::test]
async fn a_panicking_handler_hurts_nobody() {
    let node = Node::alone(config(), 1, |io| {
        io.ns("/", |s: SocketRef| -> std::future::Ready<()> {
            s.on_disconnect(|_, _| -> std::future::Ready<()> { panic!("as the test wants it") });
            panic!("as the test wants it")
        })
        .on("at_once", async |_: SocketRef| {
            panic!("as the test wants it")
        })
        .on("later", async |_: SocketRef| {
            tokio::task::yield_now().await;
            panic!("as the test wants it");
        })
        .on("call", |_: SocketRef| -> std::future::Ready<()> {
            panic!("as the test wants it")
        })
        .on("echo", async |Data(n): Data<u64>, ack: AckSender| {
            ack.send(&n).expect("an acknowledgement");
        });
    });
    let mut other = Client::connect(node.address).await;
    let mut client = Client::connect(node.address).await;
    for event in ["at_once", "later", "call"] {
        client.emit(event, &Value::Null).await;
        assert_eq!(client.ask("echo", &json!(1)).await, 1, "behind {event}");
        assert_eq!(other.ask("echo", &json!(2)).await, 2, "beside {event}");
    }
    let counters = node.io.counters();
    assert_eq!(counters.handler_panics.get(), 5, "two at connect");
    publish(&node, "news", &json!(3)).await;
    read_event(&mut client, "news").await;
    read_event(&mut other, "news").await;
    other.disconnect().await;
    until("the last panic", || counters.handler_panics.get() == 6).await;
    assert_eq!(
        client.ask("echo", &json!(4)).await,
        4,
        "behind a disconnect"
    );
}

/// A node with bounds on replay, and a client of it that has received one event and then was cut.
async fn cut_under(recovery: Recovery) -> (Node, Carried) {
    let config = Config {
        recovery: Some(recovery),
        ..Config::default()
    };
    let node = Node::alone(config, 1, quiet);
    let mut client = Client::connect(node.address).await;
    publish(&node, "hello", &Value::Null).await;
    read_event(&mut client, "hello").await;
    let carried = client.carried.clone();
    drop(client);
    (node, carried)
}

async fn replay_is_capped(recovery: Recovery, most: usize) {
    let news = json!("x".repeat(1000));
    let (node, mut carried) = cut_under(recovery).await;
    for _ in 0..most {
        publish(&node, "news", &news).await;
    }
    let mut client = Client::resume(node.address, &carried).await;
    assert!(client.has_recovered(&carried), "{most} events fit");
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert_eq!(client.args_of("news").len(), most);
    carried = client.carried.clone();
    drop(client);
    for _ in 0..=most {
        publish(&node, "news", &news).await;
    }
    let mut client = Client::resume(node.address, &carried).await;
    assert_ne!(client.carried.sid, carried.sid, "a new session");
    assert_ne!(client.carried.pid, carried.pid, "a new session");
    let refused = &node.io.counters().not_recovered[NotRecovered::TooMuch.index()];
    assert_eq!(refused.get(), 1);
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert!(client.args_of("news").is_empty(), "nothing of the old one");
    // The session that could not be continued has ended: no second attempt gets it.
    let again = Client::resume(node.address, &carried).await;
    assert_ne!(again.carried.pid, carried.pid);
}

#[tokio::test]
async fn replay_caps_give_a_new_session() {
    let by_events = Recovery {
        max_replay_events: 3,
        ..Recovery::default()
    };
    replay_is_capped(by_events, 3).await;
    // Name and punctuation come on top of the thousand bytes of each.
    let by_bytes = Recovery {
        max_replay_bytes: 5_500,
        ..Recovery::default()
    };
    replay_is_capped(by_bytes, 5).await;
}

async fn full_inbox(threads: usize) {
    const EVENTS: u64 = 3000;
    const INBOX: usize = 4;
    let gate = Arc::new(Semaphore::new(0));
    let opens = gate.clone();
    let config = Config {
        inbox_events: INBOX,
        ..config()
    };
    let node = Node::alone(config, threads, move |io| {
        io.ns("/", async || {}).on(
            "work",
            move |_: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                let gate = gate.clone();
                async move {
                    drop(gate.acquire().await.expect("never closed"));
                    if n % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                    ack.send(&n).expect("an acknowledgement");
                }
            },
        );
    });
    let mut client = Client::connect(node.address).await;
    for n in 0..50 {
        client.emit("work", &json!(n)).await;
    }
    let counters = node.io.counters();
    // One is at work, the others wait: what follows them is not read. Which of the two is counted first is open.
    until("a pause, and one at work", || {
        counters.inbox_pauses.get() > 0 && counters.events_in.get() > 0
    })
    .await;
    assert_eq!(counters.events_in.get(), 1);
    opens.add_permits(1);
    for n in 50..EVENTS {
        client.emit("work", &json!(n)).await;
    }
    let is_last = |seen: &Seen| matches!(seen, Seen::Ack(id, _) if *id == EVENTS - 1);
    client.read_until("all acknowledgements", 0, is_last).await;
    let expected: Vec<_> = (0..EVENTS).map(|n| Seen::Ack(n, json!(n))).collect();
    assert!(client.seen == expected, "{:?}", client.seen);
}

#[tokio::test]
async fn a_full_inbox_pauses_and_loses_nothing() {
    full_inbox(1).await;
    for _ in 0..5 {
        full_inbox(2).await;
    }
}

/// Publishes to a client that does not read until its send queue overflows for the `nth` time.
async fn overflow(node: &Node, nth: u64) {
    let blob = json!("x".repeat(20_000));
    within("an overflow", async {
        while node.io.counters().overflows.get() < nth {
            publish(node, "blob", &blob).await;
        }
    })
    .await;
    until("the end of the connection", || node.main().local_len() == 0).await;
}

#[tokio::test]
async fn a_second_overflow_soon_ends_the_session() {
    let mut config = config();
    config.engine.max_send_queue = 100_000;
    let node = Node::alone(config, 1, quiet);
    let client = Client::open(node.address, None, Some(4096)).await;
    let carried = client.carried.clone();
    overflow(&node, 1).await;
    drop(client);

    let mut client = Client::open(node.address, Some(&carried), Some(4096)).await;
    assert!(client.has_recovered(&carried), "the first one is forgiven");
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    let carried = client.carried.clone();
    overflow(&node, 2).await;
    drop(client);

    let client = Client::resume(node.address, &carried).await;
    assert_ne!(client.carried.pid, carried.pid, "the second one is not");
    let refused = &node.io.counters().not_recovered[NotRecovered::UnknownSession.index()];
    assert_eq!(refused.get(), 1);
    assert_eq!(node.io.counters().overflows.get(), 2);
}

#[tokio::test]
async fn a_session_that_its_client_ended_is_not_recovered() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = gone.clone();
    let node = Node::alone(config(), 1, move |io| {
        io.ns("/", move |s: SocketRef| {
            let seen = seen.clone();
            s.on_disconnect(async move |_: SocketRef, _| seen.store(true, Ordering::Release));
            std::future::ready(())
        });
    });
    let client = Client::connect(node.address).await;
    let carried = client.carried.clone();
    client.disconnect().await;
    until("the disconnect handler", || gone.load(Ordering::Acquire)).await;
    let client = Client::resume(node.address, &carried).await;
    assert_ne!(client.carried.pid, carried.pid);
}

#[tokio::test]
async fn a_room_that_the_middleware_gives_is_there_from_the_beginning_and_after_recovery() {
    let node = Node::alone(config(), 1, |io| {
        io.ns("/", async || {}).with(|connecting| async move {
            connecting.join(["given", "given"]);
            Ok(())
        });
    });
    let tell = async |n: u64| {
        let event = Event::new("told", &n).expect("an event");
        let decided = node.main().to("given").append(event, None).decided();
        within("an append", decided).await.expect("an append");
    };
    let mut client = Client::connect(node.address).await;
    tell(1).await;
    read_event(&mut client, "told").await;
    assert_eq!(node.main().local_sockets()[0].rooms().len(), 1);
    let carried = client.carried.clone();
    drop(client);
    tell(2).await;
    let mut client = Client::resume(node.address, &carried).await;
    assert!(client.has_recovered(&carried));
    tell(3).await;
    publish(&node, "end", &Value::Null).await;
    read_event(&mut client, "end").await;
    assert_eq!(client.args_of("told"), [json!(2), json!(3)]);
}
