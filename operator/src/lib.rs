//! The operator: a `ChatCluster` becomes running chat servers, and stays so.
//!
//! `controller` is one look at one ChatCluster, in steps; read it first. Around it: `app` wires watches, leader, listener and
//! signals; `leader` is the Lease; `events`, `metrics` and `http` are what others see of the operator; `backoff` is how it
//! waits; `names` is every name that it gives; `absent` is how an API server says that something is not there. `check` says whether an operator acts. The contract, ChatCluster itself, is in the crate `chat-api`.

mod absent;
pub mod app;
pub mod args;
mod backoff;
pub mod check;
mod controller;
mod events;
#[cfg(test)]
mod fixtures;
mod http;
mod leader;
mod metrics;
mod names;
pub mod telemetry;
