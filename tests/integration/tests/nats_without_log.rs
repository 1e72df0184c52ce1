//! Namespaces without a log on NATS, and what happens to NATS and to the log.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::nats::Options as NatsOptions;
use chatcluster_harness::{Client, NatsServer, Nodes, until};
use chatcluster_integration::recovering;
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::{Delivery, NodeId};
use chatcluster_socketio_nats::{NatsCluster, Options};
use serde_json::{Value, json};

/// Two nodes' view of one NATS, kept for what they count.
struct Kept {
    server: NatsServer,
    joined: Mutex<Vec<NatsCluster>>,
}

impl Kept {
    fn counters(&self, node: usize) -> Arc<chatcluster_socketio_nats::Counters> {
        self.joined.lock().unwrap()[node].counters().clone()
    }
}

impl ClusterUnderTest for Kept {
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        let options = Options::new(self.server.url(), "test");
        let joining = NatsCluster::join(options, node, HashMap::new());
        let joined =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(joining));
        let joined = joined.unwrap();
        self.joined.lock().unwrap().push(joined.clone());
        Arc::new(joined)
    }

    fn delivery(&self) -> Delivery {
        Delivery::Ephemeral
    }
}

async fn two() -> (Kept, Nodes, [Client; 2]) {
    let kept = Kept {
        server: NatsServer::start(NatsOptions::default()).await,
        joined: Mutex::default(),
    };
    let nodes = Nodes::plain(2, &recovering(), &kept).await;
    let clients = [nodes[0].connect().await, nodes[1].connect().await];
    (kept, nodes, clients)
}

fn args(client: &Client) -> Vec<Value> {
    let events = client.events("m").into_iter();
    events.map(|event| event.args[0].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nats_is_away_events_reach_this_node_s_clients_only_and_are_counted() {
    let (mut kept, nodes, [near, far]) = two().await;
    nodes[0].main().emit("m", &"before").unwrap();
    far.event("m").await;
    kept.server.kill();
    let counters = kept.counters(0);
    until("the node notices", || counters.connections_lost.get() == 1).await;
    let unsent = counters.messages_unsent.get();
    for number in 0..3 {
        nodes[0].main().emit("m", &number).unwrap();
    }
    near.nth_event("m", 3).await;
    assert_eq!(counters.messages_unsent.get() - unsent, 3);
    // Who comes meanwhile is let in: there is no session to be stored.
    let newcomer = nodes[0].connect().await;
    nodes[0].main().emit("m", &3).unwrap();
    newcomer.event("m").await;

    kept.server.restart().await;
    let mut mark = 0;
    until("the nodes hear each other again", || {
        mark += 1;
        nodes[0].main().emit("mark", &mark).unwrap();
        !far.events("mark").is_empty()
    })
    .await;
    nodes[0].main().emit("m", &"after").unwrap();
    far.nth_event("m", 1).await;
    assert_eq!(args(&far), [json!("before"), json!("after")]);
    let all = [json!("before"), json!(0), json!(1), json!(2), json!(3)];
    assert_eq!(args(&near)[..5], all);
    assert!(!near.is_closed() && !far.is_closed());
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_logged_or_stored_and_the_end_of_the_log_ends_nobody() {
    let (kept, nodes, [near, far]) = two().await;
    nodes[0].socket(&near.sid()).join("r").await;
    let socket = nodes[1].socket(&far.sid());
    socket.set_data(&json!({"name": "Zoë"})).await.unwrap();
    for number in 0..10 {
        nodes[0].main().emit("m", &number).unwrap();
    }
    far.nth_event("m", 9).await;
    let jetstream =
        async_nats::jetstream::new(async_nats::connect(kept.server.url()).await.unwrap());
    for name in ["test_log", "KV_test_sessions"] {
        let mut stream = jetstream.get_stream(name).await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, 0, "{name}");
    }

    jetstream.delete_stream("test_log").await.unwrap();
    let counters = [kept.counters(0), kept.counters(1)];
    until("both nodes have found out", || {
        counters.iter().all(|counters| counters.restarts.get() > 0)
    })
    .await;
    nodes[1].main().emit("m", &10).unwrap();
    near.nth_event("m", 10).await;
    assert!(!near.is_closed() && !far.is_closed());
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nats_would_not_carry_reaches_this_node_s_clients_and_is_counted() {
    let (kept, nodes, [near, far]) = two().await;
    let large = "x".repeat(1 << 20);
    nodes[0].main().emit("large", &large).unwrap();
    near.event("large").await;
    assert_eq!(kept.counters(0).messages_too_large.get(), 1);
    nodes[0].main().emit("m", &1).unwrap();
    far.event("m").await;
    assert!(far.events("large").is_empty());
    nodes.stop().await;
}
