//! What the tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use chatcluster_harness::within;
use chatcluster_socketio::session::{Quiet, Record, Sessions as _};
use chatcluster_socketio::{NodeId, SessionKey, Sid};
use tokio::sync::watch;

use crate::counters::Counters;
use crate::names::Names;
use crate::peers::Peers;
use crate::ports::Ports;
use crate::{NatsCluster, Options, StorageType, nats};

/// Connects, and again soon when the connection ends.
pub(crate) async fn connect(address: std::net::SocketAddr) -> Client {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
    let connected = options.connect(format!("nats://{address}"));
    within("a connection to NATS", connected).await.unwrap()
}

pub(crate) fn names() -> Names {
    Names::new("test").unwrap()
}

/// What a node has of a connection.
pub(crate) fn ports(client: &Client) -> Ports {
    let options = Options {
        storage: StorageType::Memory,
        ..Options::new("", "test")
    };
    let (_, connections) = watch::channel(1);
    nats::ports(client, connections, &names(), &Arc::new(options))
}

pub(crate) async fn join(client: &Client, name: &str) -> (Arc<Peers>, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let joined = Peers::join(
        ports(client).wire,
        names(),
        NodeId::new(name),
        counters.clone(),
    );
    (within("a node joins", joined).await.unwrap(), counters)
}

/// A session that is connected to this node.
pub(crate) fn session_of(node: &str) -> Record {
    Record {
        sid: Sid::random(),
        identity: Some("somebody".into()),
        owner: NodeId::new(node),
        takeovers: 0,
        epoch: 1,
        start: 7,
        intervals: Vec::new(),
        gap_below: 0,
        is_caught_up: true,
        is_connected: true,
        is_untouched: false,
        data: r#"{"name":"x"}"#.into(),
        overflowed_at: None,
        quiet: Quiet::default(),
        ended: None,
    }
}

/// Stores one.
pub(crate) async fn store_session(cluster: &NatsCluster, node: &str) {
    let sessions = cluster.sessions();
    let created = sessions.create(SessionKey::random(), session_of(node));
    within("a session is stored", created).await.unwrap();
}
