//! What the integration tests stand on: several nodes in this process, a client at packet level, a gate before a node, a
//! real nats-server and a proxy before it.
//!
//! Nothing here knows an adapter but [`adapters`], which runs every case of a suite over each of them. Whatever does not
//! happen within [`wait::DEADLINE`] fails the test with a sentence that says what was awaited.

pub mod adapters;
pub mod client;
pub mod gate;
pub mod nats;
pub mod nodes;
pub mod packet;
pub mod proxy;
pub mod wait;

pub use client::{Carried, Client, Silent};
pub use gate::Gate;
pub use nats::{NatsCluster, NatsServer};
pub use nodes::{Node, Nodes};
pub use packet::{Event, Received};
pub use proxy::Proxy;
pub use wait::{DEADLINE, until, within};
