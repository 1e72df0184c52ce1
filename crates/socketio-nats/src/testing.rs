//! What the tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use chatcluster_harness::within;
use chatcluster_socketio::NodeId;

use crate::counters::Counters;
use crate::names::Names;
use crate::peers::Peers;

/// Connects, and again soon when the connection ends.
pub(crate) async fn connect(address: std::net::SocketAddr) -> Client {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
    let connected = options.connect(format!("nats://{address}"));
    within("a connection to NATS", connected).await.unwrap()
}

pub(crate) fn names() -> Names {
    Names::new("test").unwrap()
}

pub(crate) async fn join(client: &Client, name: &str) -> (Arc<Peers>, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let joined = Peers::join(client.clone(), names(), NodeId::new(name), counters.clone());
    (within("a node joins", joined).await.unwrap(), counters)
}
