//! The chat server: one process, one or several nodes, one history.
//!
//! [`app`] wires it; [`chat`] is what clients see; everything else is named after what it does.

pub mod app;
pub mod args;
pub mod auth;
pub mod backend;
pub mod chat;
pub mod codes;
pub mod drain;
mod files;
pub mod hand_over;
pub mod history;
pub mod http;
pub mod limits;
pub mod live;
pub mod membership;
pub mod metrics;
pub mod node;
pub mod relay;
pub mod reload;
pub mod settings;
pub mod telemetry;
