//! The contract between ChatCluster's parts: the configuration file of the chat server, and with the feature `crd` the
//! `ChatCluster` resource that the operator makes it from.
//!
//! [`ServerConfig`] is what was written (every field has its default here and nowhere else);
//! [`Config`] is what holds after [`ServerConfig::validate`]. Whoever holds a [`Config`] checks
//! nothing again. Reading and validating report every [`Problem`] at once. This crate reads no
//! file and no flag: that is the server's `settings`.

mod api;
mod auth;
#[cfg(feature = "crd")]
#[expect(
    unreachable_pub,
    reason = "the derive of the schema makes copies of its structs in a private place"
)]
pub mod cluster;
mod config;
mod duration;
mod log_level;
mod nats;
mod nodes;
mod problem;
mod read;
mod relay;
mod reload;
mod server_config;
mod validate;

pub use api::{Api, ApiSection};
pub use auth::{Auth, AuthSection, AuthType, Jwt, JwtAlgorithm, JwtKeys, JwtSection};
pub use config::{Config, Cors, Drain, Engine, History, Limits, Origins, Recovery};
pub use duration::{DurationText, ParseDurationError};
pub use log_level::{LogLevel, ParseLogLevelError};
pub use nats::{Nats, NatsCredentials, NatsSection, NatsStorage, NatsTls, NatsTlsSection};
pub use nodes::{MAX_NODES, Nodes, ParseNodesError};
pub use problem::{Problem, Problems};
pub use relay::{Relay, RelaySection};
pub use server_config::{
    CorsSection, DrainSection, EngineSection, HistorySection, LimitsSection, RecoverySection,
    ServerConfig, Transport,
};
