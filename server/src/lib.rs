//! The chat server: settings, authentication, limits, history, HTTP, metrics.

pub mod args;
pub mod auth;
pub mod codes;
pub mod history;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod settings;
pub mod telemetry;
