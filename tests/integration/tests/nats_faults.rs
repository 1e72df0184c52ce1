//! Two nodes on NATS, and what happens to NATS: nothing acknowledged is lost or doubled, everybody sees one order, and what
//! cannot be known is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use chatcluster_harness::adapters::OverNats;
use chatcluster_harness::{Client, Nodes, until, within};
use chatcluster_integration::recovering;
use chatcluster_socketio::log::{AppendError, Appended, Record};
use chatcluster_socketio::{Event, NotRecovered};
use serde_json::json;

#[path = "support/bucket.rs"]
mod bucket;

use bucket::{sessions, stored};

/// Two nodes with a client on each.
async fn two() -> (OverNats, Nodes, [Client; 2]) {
    let nats = OverNats::start().await;
    let nodes = Nodes::plain(2, &recovering(), &nats).await;
    let clients = [nodes[0].connect().await, nodes[1].connect().await];
    (nats, nodes, clients)
}

/// Logs an event on a node, in turn with what the node logs besides; resolves with its fate.
fn append(
    nodes: &Nodes,
    node: usize,
    number: u64,
    record: Option<Record>,
) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    let event = Event::new("m", &number).unwrap();
    nodes[node].main().all().append(event, record).decided()
}

fn numbers(client: &Client) -> Vec<u64> {
    let events = client.events("m").into_iter();
    events.map(|e| e.args[0].as_u64().unwrap()).collect()
}

/// Everything that was acknowledged has been received by everybody, once, in the order of its positions.
async fn all_is_well(nodes: &Nodes, clients: &[Client; 2], mut acknowledged: Vec<(u64, u64)>) {
    nodes.fence(&[&clients[0], &clients[1]]).await;
    acknowledged.sort_unstable();
    let expected: Vec<u64> = acknowledged.iter().map(|(_, number)| *number).collect();
    for client in clients {
        assert!(!client.is_closed());
        assert_eq!(numbers(client), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_costs_nothing_that_was_acknowledged() {
    let (mut nats, nodes, clients) = two().await;
    let mut fates = Vec::new();
    for number in 0..300 {
        fates.push((number, append(&nodes, (number % 2) as usize, number, None)));
        if number == 150 {
            nats.0.kill();
        }
    }
    nats.0.restart().await;
    let mut acknowledged = Vec::new();
    for (number, fate) in fates {
        // The election of a leader, and every attempt before it, fit into the time that a message is tried.
        acknowledged.push((within("a fate", fate).await.unwrap().position, number));
    }
    all_is_well(&nodes, &clients, acknowledged).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_halts_delays_and_loses_nothing() {
    let (mut nats, nodes, clients) = two().await;
    let before = append(&nodes, 0, 1, None).await.unwrap();
    nats.0.stop().await;
    let late = append(&nodes, 1, 2, None);
    tokio::pin!(late);
    let halted = tokio::time::timeout(Duration::from_secs(3), &mut late).await;
    assert!(halted.is_err(), "nothing can be acknowledged meanwhile");
    nats.0.cont();
    let after = within("a late acknowledgement", late).await.unwrap();
    all_is_well(
        &nodes,
        &clients,
        vec![(before.position, 1), (after.position, 2)],
    )
    .await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_sent_to_two_nodes_is_one_message() {
    let (_nats, nodes, clients) = two().await;
    let record = || {
        Some(Record {
            key: [7; 16],
            room: "".into(),
            body: "{}".into(),
        })
    };
    let first = append(&nodes, 0, 1, record()).await.unwrap();
    let again = append(&nodes, 1, 1, record()).await.unwrap();
    assert!(!first.is_duplicate && again.is_duplicate);
    assert_eq!(first.position, again.position);
    all_is_well(&nodes, &clients, vec![(first.position, 1)]).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_deleted_is_a_new_epoch_and_recovers_nobody() {
    let (nats, nodes, [first, second]) = two().await;
    append(&nodes, 0, 1, None).await.unwrap();
    first.event("m").await;
    second.event("m").await;
    let client = async_nats::connect(nats.0.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_stream("test_log").await.unwrap();
    let carried = first.carried();
    first.closed().await;
    second.closed().await;
    let back = nodes[1].resume(&carried).await;
    assert!(!back.has_recovered(&carried));
    within("an append to the new log", async {
        while append(&nodes, 0, 2, None).await.is_err() {}
    })
    .await;
    assert_eq!(back.event("m").await.args[0], json!(2));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_nodes_have_read_may_be_purged() {
    let (nats, nodes, [first, second]) = two().await;
    append(&nodes, 0, 1, None).await.unwrap();
    first.event("m").await;
    second.event("m").await;
    let client = async_nats::connect(nats.0.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("test_log").await.unwrap();
    stream.purge().await.unwrap();
    append(&nodes, 1, 2, None).await.unwrap();
    assert_eq!(second.nth_event("m", 1).await.args[0], json!(2));
    assert!(!first.is_closed());
    let gap = NotRecovered::Gap.index();
    assert_eq!(nodes[0].io.counters().not_recovered[gap].get(), 0);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_a_node_that_is_gone_recovers_on_another() {
    let (_nats, mut nodes, [first, _second]) = two().await;
    nodes[0].socket(&first.sid()).join("room").await;
    append(&nodes, 0, 1, None).await.unwrap();
    first.event("m").await;
    let carried = first.carried();
    let gone = nodes.take(0);
    drop(first);
    gone.stop().await;
    until("the other node knows", || nodes[0].main().node_count() == 1).await;
    let event = Event::new("m", &2).unwrap();
    let said = nodes[0].main().to("room").append(event, None).decided();
    said.await.unwrap();
    let back = nodes[0].resume(&carried).await;
    assert!(back.has_recovered(&carried));
    assert_eq!(back.event("m").await.args[0], json!(2));
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_s_emits_are_logged_in_their_order_whatever_rooms_they_go_to() {
    const EVENTS: u64 = 600;
    let (_nats, nodes, [first, second]) = two().await;
    for (node, client) in [(0, &first), (1, &second)] {
        let socket = nodes[node].socket(&client.sid());
        socket.join(["a", "b"].to_vec()).await;
    }
    for number in 0..EVENTS {
        let main = nodes[0].main();
        let to = match number % 5 {
            0 | 1 => main.to("a"),
            2 => main.to("b"),
            3 => main.to(["a", "b"]),
            _ => main.all(),
        };
        to.emit("m", &number).unwrap();
    }
    nodes.fence(&[&first, &second]).await;
    let expected: Vec<u64> = (0..EVENTS).collect();
    assert_eq!(numbers(&first), expected);
    assert_eq!(numbers(&second), expected);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_end_could_not_be_stored_gets_its_window_later() {
    let (mut nats, nodes, [first, _second]) = two().await;
    let sid = first.sid();
    nats.0.stop().await;
    first.cut().await;
    nodes[0].misses(&sid).await;
    // This one asks the store after the end of the first was to be stored: by then that has failed.
    let asking = Client::builder(nodes[0].address).try_connect();
    let asked = tokio::time::timeout(Duration::from_secs(3), asking).await;
    assert!(asked.is_err(), "the store does not answer");
    nats.0.cont();
    let bucket = sessions(&nats).await;
    let deadline = tokio::time::Instant::now() + chatcluster_harness::DEADLINE;
    loop {
        let records = stored(&bucket).await;
        let ended = records
            .iter()
            .find(|record| record.sid.to_string() == sid)
            .unwrap();
        if !ended.is_connected {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the session still counts as connected"
        );
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_nats_is_away_is_let_in_when_it_is_back() {
    let (mut nats, nodes, [first, _second]) = two().await;
    append(&nodes, 0, 1, None).await.unwrap();
    first.event("m").await;
    nats.0.stop().await;
    let carried = first.cut().await;
    let (returning, new) = (nodes[1].resume(&carried), nodes[0].connect());
    let mut both = Box::pin(async { tokio::join!(returning, new) });
    // Longer than one question to the session store may take: refused or closed, it would be over.
    let early = tokio::time::timeout(Duration::from_secs(3), &mut both).await;
    assert!(early.is_err(), "nobody can be let in meanwhile");
    nats.0.cont();
    let (back, new) = within("both are let in", &mut both).await;
    drop(both);
    assert!(back.has_recovered(&carried));
    append(&nodes, 0, 2, None).await.unwrap();
    for client in [&back, &new] {
        assert_eq!(client.event("m").await.args[0], json!(2));
    }
    // What was tried in vain has left nothing behind.
    let stored = stored(&sessions(&nats).await).await;
    assert_eq!(stored.len(), 3, "one session for each client");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_holds_no_more_comes_out_of_the_log() {
    const EVENTS: u64 = 400;
    let nats = OverNats::start().await;
    let mut config = recovering();
    // Some ten events.
    config.recovery.as_mut().unwrap().memory_window_bytes = 4096;
    let nodes = Nodes::plain(2, &config, &nats).await;
    let (witness, other) = (nodes[1].connect().await, nodes[1].connect().await);
    let mut away = Vec::new();
    for _ in 0..5 {
        let client = nodes[0].connect().await;
        nodes[0].socket(&client.sid()).join("room").await;
        away.push(client);
    }
    append(&nodes, 0, 0, None).await.unwrap();
    let mut carried = Vec::new();
    for client in away {
        client.event("m").await;
        carried.push(client.cut().await);
    }
    for number in 1..=EVENTS {
        let main = nodes[1].main();
        match number % 3 {
            0 => main.to("room").emit("m", &number).unwrap(),
            1 => main.all().emit("m", &number).unwrap(),
            _ => main.to(other.sid()).emit("m", &number).unwrap(),
        }
    }
    nodes.fence(&[&witness]).await;
    let wanted: Vec<u64> = (1..=EVENTS).filter(|number| number % 3 != 2).collect();
    let back = carried.iter().map(|carried| nodes[1].resume(carried));
    let back = within("all are back", futures_util::future::join_all(back)).await;
    for (client, carried) in back.iter().zip(&carried) {
        assert!(client.has_recovered(carried));
    }
    nodes.fence(&back.iter().collect::<Vec<_>>()).await;
    for client in &back {
        assert_eq!(numbers(client), wanted);
    }
    let counters = nodes[1].io.counters();
    assert_eq!(counters.recovered_from_log.get(), 5);
    // What was sent out of the log is in no node's memory: cut again, it comes out of the log again.
    let again = nodes[0].resume(&carried[0]).await;
    assert!(again.has_recovered(&carried[0]));
    nodes.fence(&[&again]).await;
    assert_eq!(numbers(&again), wanted);
    nodes.stop().await;
}
