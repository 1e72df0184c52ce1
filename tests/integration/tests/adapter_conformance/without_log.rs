//! What holds, and what does not, in a namespace without a log.

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::{Client, Nodes, over_each_adapter_without_log};
use chatcluster_integration::recovering;
use chatcluster_socketio::Event;
use chatcluster_socketio::log::AppendError;
use serde_json::json;

use crate::{counts, join, three};

over_each_adapter_without_log!(
    all_clients_see_one_node_s_events_in_one_order,
    there_is_neither_pid_nor_offset_and_who_returns_is_somebody_new,
    what_one_s_own_node_emits_is_there_before_the_call_returns,
    nothing_can_be_appended,
    a_second_call_does_not_change_how_a_namespace_delivers,
);

/// Emits of one thread; fewer than wait for one node.
const EMITS: u64 = 2_000;

fn numbers(client: &Client) -> Vec<u64> {
    let events = client.events("m").into_iter();
    events.map(|e| e.args[0].as_u64().unwrap()).collect()
}

async fn all_clients_see_one_node_s_events_in_one_order(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1, 2]).await;
    join(&nodes, &clients, "s", &[0, 1, 2]).await;
    let emitting = [0, EMITS].map(|first| {
        let main = nodes[1].main();
        tokio::task::spawn_blocking(move || {
            for number in first..first + EMITS {
                let to = match number % 3 {
                    0 => main.to("r"),
                    1 => main.to(["r", "s"]),
                    _ => main.except("nobody"),
                };
                to.emit("m", &number).unwrap();
            }
        })
    });
    for thread in emitting {
        thread.await.unwrap();
    }
    nodes.fence(&clients.each_ref()).await;
    let seen = clients.each_ref().map(numbers);
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "one order");
    for first in [0, EMITS] {
        let of_one = seen[0].iter().copied();
        let of_one = of_one.filter(|n| (first..first + EMITS).contains(n));
        assert!(of_one.eq(first..first + EMITS), "each emitter's, all of it");
    }
    nodes.stop().await;
}

async fn there_is_neither_pid_nor_offset_and_who_returns_is_somebody_new(
    cluster: &dyn ClusterUnderTest,
) {
    let (nodes, [client, other, _]) = three(cluster).await;
    assert_eq!(client.pid(), None);
    nodes[0].main().emit("m", &"all").unwrap();
    nodes[1].main().to(client.sid()).emit("m", &"one").unwrap();
    nodes.fence(&[&client, &other]).await;
    let own = nodes[0].socket(&client.sid());
    own.emit("m", &"own").unwrap();
    own.volatile().emit("m", &"volatile").unwrap();
    let args = |client: &Client| -> Vec<_> {
        let events = client.events("m").into_iter();
        events.map(|event| event.args).collect()
    };
    client.nth_event("m", 3).await;
    let mut seen = args(&client);
    seen.sort_by_key(|args| args[0].to_string());
    assert_eq!(
        seen,
        [
            [json!("all")],
            [json!("one")],
            [json!("own")],
            [json!("volatile")]
        ]
    );
    assert_eq!(args(&other), [[json!("all")]]);

    let mut carried = client.cut().await;
    nodes[0].misses(&carried.sid).await;
    // As a client that has them from somewhere else.
    carried.pid = Some("AAAAAAAAAAAAAAAAAAAAAAAA".to_owned());
    carried.offset = Some("c1.1.1".to_owned());
    nodes[2].main().emit("m", &"missed").unwrap();
    // The node to come back to has had it.
    other.nth_event("m", 1).await;
    let back = nodes[1].resume(&carried).await;
    assert!(!back.has_recovered(&carried) && back.pid().is_none());
    assert_ne!(back.sid(), carried.sid);
    assert!(!nodes[1].socket(&back.sid()).recovered());
    assert_eq!(counts(&nodes, [&back], "m").await, [0]);
    nodes.stop().await;
}

async fn what_one_s_own_node_emits_is_there_before_the_call_returns(
    cluster: &dyn ClusterUnderTest,
) {
    let nodes = Nodes::start(1, &recovering(), cluster, |io, _| {
        io.ns_with("/", cluster.delivery(), async || {});
    })
    .await;
    let client = nodes[0].connect().await;
    let socket = nodes[0].socket(&client.sid());
    socket.join("r").await;
    nodes[0].main().to("r").emit("m", &1).unwrap();
    // What is sent to it directly cannot overtake what has been queued for it.
    socket.emit("m", &2).unwrap();
    nodes[0].main().to("r").emit("m", &3).unwrap();
    client.nth_event("m", 2).await;
    assert_eq!(numbers(&client), [1, 2, 3]);
    nodes.stop().await;
}

async fn nothing_can_be_appended(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let event = Event::new("m", &1).unwrap();
    let decided = nodes[0].main().all().append(event, None).decided().await;
    assert_eq!(decided, Err(AppendError::NoLog));
    assert_eq!(counts(&nodes, clients.each_ref(), "m").await, [0, 0, 0]);
    nodes.stop().await;
}

async fn a_second_call_does_not_change_how_a_namespace_delivers(cluster: &dyn ClusterUnderTest) {
    let nodes = Nodes::start(2, &recovering(), cluster, |io, _| {
        io.ns_with("/", cluster.delivery(), async || {});
        io.ns("/", async || {});
    })
    .await;
    assert_eq!(nodes[0].main().delivery(), cluster.delivery());
    let client = nodes[1].connect().await;
    assert_eq!(client.pid(), None);
    nodes.stop().await;
}
