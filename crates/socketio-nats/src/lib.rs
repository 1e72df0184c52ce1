//! The NATS adapter of `chatcluster-socketio`: several pods behave as one.
//!
//! - **Log.** One JetStream stream per cluster; a message holds one event or several, and its
//!   sequence says where they are (`position`). Each node follows all of it
//!   (`follower`), and delivers what the log says in the log's order (`pipeline`). What a node appends (`publisher`) comes
//!   back to it the same way as to everybody else.
//! - **Sessions.** One KV bucket; each write names the revision that it replaces (`sessions`).
//! - **Casts and requests.** Core subjects, at most once; who is there is known by heartbeats (`ephemeral`, `peers`).
//!
//! [`NatsCluster`] puts them together. Names are in [`names`], formats in [`codec`], what a node must be allowed in
//! [`permissions`].

mod absent;
mod adapter;
mod answers;
mod appends;
mod asserter;
mod casts;
mod cells;
mod cluster;
pub mod codec;
mod connection;
mod counters;
mod credentials;
mod denials;
mod ephemeral;
mod epoch;
mod follower;
mod gate;
pub mod names;
mod nats;
mod opening;
mod options;
mod peers;
pub mod permissions;
mod pipeline;
mod ports;
mod position;
mod publisher;
mod queue;
mod read_model;
mod replays;
mod requests;
mod secret;
mod sessions;
#[cfg(test)]
mod simulation;
mod stream;
mod sweeper;
#[cfg(test)]
mod testing;

pub use cluster::{Error, NatsCluster};
pub use connection::ConnectionError;
pub use counters::{Counter, Counters};
pub use epoch::EpochError;
pub use options::{Credentials, Options, StorageType, Tls};
pub use peers::{JoinError, RelayPlace};
pub use read_model::{ReadModel, ResetError};
pub use secret::{PeerSecret, SecretError};
pub use sessions::BucketError;
pub use stream::StreamError;
