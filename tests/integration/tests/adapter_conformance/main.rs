//! The behaviours that every adapter must show with three nodes, in the order of the reference's own suites; all but recovery
//! also in namespaces without a log.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acknowledgements;
mod broadcast;
mod recovery;
mod rooms;
mod server_side;
mod without_log;

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::{Client, Nodes};
use chatcluster_integration::recovering;

/// Three nodes, and a client on each.
async fn three(cluster: &dyn ClusterUnderTest) -> (Nodes, [Client; 3]) {
    let nodes = Nodes::plain(3, &recovering(), cluster).await;
    let clients = [
        nodes[0].connect().await,
        nodes[1].connect().await,
        nodes[2].connect().await,
    ];
    (nodes, clients)
}

/// Which of the clients have been sent an event of this name, and how often each.
async fn counts<const N: usize>(nodes: &Nodes, clients: [&Client; N], name: &str) -> [usize; N] {
    nodes.fence(&clients).await;
    clients.map(|client| client.events(name).len())
}

/// Lets the client of each named node join a room.
async fn join(nodes: &Nodes, clients: &[Client; 3], room: &str, members: &[usize]) {
    for &i in members {
        nodes[i].socket(&clients[i].sid()).join(room).await;
    }
}
