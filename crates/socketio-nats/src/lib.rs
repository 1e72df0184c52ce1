//! The NATS adapter of `chatcluster-socketio`: several pods behave as one.
//!
//! - **Log.** One JetStream stream per cluster; a message's sequence is its position. Each node follows all of it, and
//!   delivers what the log says in the log's order: [`Cluster`](chatcluster_socketio::adapter::Cluster).
//! - **Sessions.** One KV bucket; each write names the revision that it replaces.
//! - **Casts and requests.** Core subjects, at most once; who is there is known by heartbeats.
//!
//! Names are in [`names`], formats in [`codec`].

pub mod codec;
mod counters;
pub mod names;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the adapter that uses it is next")
)]
mod sessions;

pub use counters::{Counter, Counters};
