//! The NATS adapter of `chatcluster-socketio`: several pods behave as one.
//!
//! - **Log.** One JetStream stream per cluster; a message's sequence is its position. Each node follows all of it, and
//!   delivers what the log says in the log's order: [`Cluster`](chatcluster_socketio::adapter::Cluster).
//! - **Sessions.** One KV bucket; each write names the revision that it replaces.
//! - **Casts and requests.** Core subjects, at most once; who is there is known by heartbeats.
//!
//! Names are in [`names`], formats in [`codec`].

mod answers;
mod casts;
pub mod codec;
pub mod counters;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "opened by the cluster, which is to come")
)]
mod ephemeral;
pub mod names;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "opened by the cluster, which is to come")
)]
mod peers;
mod queue;
mod requests;
#[cfg(test)]
mod testing;

pub use peers::JoinError;
