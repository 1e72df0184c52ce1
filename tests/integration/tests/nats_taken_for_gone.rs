//! A node that the others do not hear for a while, and its sessions.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chatcluster_harness::adapters::{ClusterUnderTest, OverNats};
use chatcluster_harness::{Nodes, Proxy, until, within};
use chatcluster_integration::recovering;
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::{Config, Event, NodeId, SessionKey, Sid};
use chatcluster_socketio_nats::{NatsCluster, Options, codec};

#[path = "support/bucket.rs"]
mod bucket;

use bucket::{sessions, stored};

/// How long a client may stay away, where nodes sweep: longer than a node takes to be back and to look.
const WINDOW: Duration = Duration::from_secs(10);

/// One that passes while a node is cut off; NATS takes a lifetime of a second or more.
const SHORT: Duration = Duration::from_secs(2);

/// Nodes that sweep; all but the first reach NATS through a proxy.
struct Sweeping {
    nats: OverNats,
    proxy: Proxy,
    window: Duration,
    clusters: Mutex<Vec<NatsCluster>>,
}

impl Sweeping {
    async fn start(window: Duration) -> Self {
        let nats = OverNats::start().await;
        Self {
            proxy: Proxy::before(nats.0.address()),
            nats,
            window,
            clusters: Mutex::default(),
        }
    }

    fn cluster(&self, node: usize) -> NatsCluster {
        self.clusters.lock().unwrap()[node].clone()
    }
}

impl ClusterUnderTest for Sweeping {
    fn node(&self, node: NodeId) -> Arc<dyn Cluster> {
        let mut clusters = self.clusters.lock().unwrap();
        let url = match clusters.len() {
            0 => self.nats.0.url(),
            _ => format!("nats://{}", self.proxy.address()),
        };
        let joining = NatsCluster::join(Options::new(url, "test"), node, HashMap::new());
        let runtime = tokio::runtime::Handle::current();
        let joined = tokio::task::block_in_place(|| runtime.block_on(joining)).unwrap();
        joined.sweep_sessions(self.window);
        clusters.push(joined.clone());
        Arc::new(joined)
    }
}

fn config(window: Duration) -> Config {
    let mut config = recovering();
    config.recovery.as_mut().unwrap().window = window;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_taken_for_gone_keeps_the_sessions_of_its_clients() {
    let sweeping = Sweeping::start(WINDOW).await;
    let nodes = Nodes::plain(2, &config(WINDOW), &sweeping).await;
    let elsewhere = nodes[0].connect().await;
    let (first, second) = (nodes[1].connect().await, nodes[1].connect().await);
    let event = Event::new("m", &1).unwrap();
    let logged = nodes[0].main().all().append(event, None).decided();
    within("an append", logged).await.unwrap();
    for client in [&elsewhere, &first, &second] {
        client.event("m").await;
    }
    let (sweeper, owner) = (sweeping.cluster(0), sweeping.cluster(1));
    until("the sweep at the start", || {
        sweeper.counters().sweeps.get() == 1
    })
    .await;
    // Of somebody who is gone in truth: it shows that a window has passed.
    let bucket = sessions(&sweeping.nats).await;
    let mut gone = stored(&bucket).await.remove(0);
    (gone.sid, gone.owner) = (Sid::random(), NodeId::new("gone"));
    let value = codec::encode(&gone).unwrap();
    let key = SessionKey::random().to_string();
    bucket.put(&key, value).await.unwrap();

    let writes_of = |cluster: &NatsCluster| cluster.counters().session_writes.get();
    let before = [writes_of(&sweeper), writes_of(&owner)];
    sweeping.proxy.cut().await;
    until("its sessions are swept", || {
        sweeper.counters().sessions_swept.get() == 3
    })
    .await;
    sweeping.proxy.heal().await;
    // One of them is written for another reason, perhaps before its node has looked.
    within("a join", nodes[1].socket(&second.sid()).join("room")).await;
    until("both count as connected again", || {
        owner.counters().sessions_asserted.get() >= 1
    })
    .await;
    within("the window of who is gone passes", async {
        while bucket.get(&key).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let records = stored(&bucket).await;
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(records.iter().all(|record| record.is_connected));
    // One for each, and a join that came too early.
    assert!(writes_of(&owner) - before[1] <= 3, "only what was swept");
    assert_eq!(writes_of(&sweeper) - before[0], 3, "the sweep");
    for client in [first, second] {
        assert!(!client.is_closed());
        let carried = client.cut().await;
        let back = nodes[0].resume(&carried).await;
        assert!(back.has_recovered(&carried));
    }
    assert!(!elsewhere.is_closed());
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_for_longer_than_the_window_keeps_its_clients_and_not_their_sessions()
 {
    let sweeping = Sweeping::start(SHORT).await;
    let nodes = Nodes::plain(2, &config(SHORT), &sweeping).await;
    let client = nodes[1].connect().await;
    let (sweeper, owner) = (sweeping.cluster(0), sweeping.cluster(1));
    let bucket = sessions(&sweeping.nats).await;
    until("the sweep at the start", || {
        sweeper.counters().sweeps.get() == 1
    })
    .await;
    assert_eq!(stored(&bucket).await.len(), 1);
    sweeping.proxy.cut().await;
    until("its session is swept", || {
        sweeper.counters().sessions_swept.get() == 1
    })
    .await;
    within("its window passes", async {
        while !stored(&bucket).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let event = Event::new("m", &1).unwrap();
    let logged = nodes[0].main().all().append(event, None).decided();
    within("an append", logged).await.unwrap();
    sweeping.proxy.heal().await;
    client.event("m").await;
    assert!(!client.is_closed(), "it was sent what it had missed");
    assert_eq!(owner.counters().sessions_asserted.get(), 0);
    assert!(stored(&bucket).await.is_empty());
    let carried = client.cut().await;
    let back = nodes[0].resume(&carried).await;
    assert!(!back.has_recovered(&carried));
    nodes.stop().await;
}
