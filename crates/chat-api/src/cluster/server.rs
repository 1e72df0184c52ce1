//! `spec.server`: what of the server's configuration users choose. Defaults are those of the server's file.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{EngineSection, HistorySection, LimitsSection, RecoverySection};

/// How servers treat clients.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.historyRetentionSeconds == 0 || self.historyRetentionSeconds * 1000 >= \
         self.pingIntervalMilliseconds + self.pingTimeoutMilliseconds + 10000 + \
         (self.connectionStateRecovery.state == 'Enabled' ? self.connectionStateRecovery.windowSeconds * 1000 : 0)"
    )
    .message("`historyRetentionSeconds` must be 0 (for ever), or at least `connectionStateRecovery.windowSeconds` plus ping interval, ping timeout and 10 seconds: recovery reads the log that far back")
    .field_path(".historyRetentionSeconds"),
)]
pub struct ServerSpec {
    /// transports that clients may use. With 'WebSocket' alone no sticky sessions are needed, and the ingress gets none.
    #[serde(default = "both_transports")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub transports: Vec<Transport>,

    /// cors says which web pages of other origins may connect. Pages that come from the cluster's own address always may.
    #[serde(default)]
    pub cors: CorsSpec,

    /// pingIntervalMilliseconds is the time between two heartbeats of a connection. It must be shorter than the time for
    /// which proxies on the way keep a silent connection, which often is 60 seconds.
    #[serde(default = "ping_interval")]
    #[schemars(range(min = 1000, max = 300_000))]
    pub ping_interval_milliseconds: i32,

    /// pingTimeoutMilliseconds is the time within which a client must answer a heartbeat.
    #[serde(default = "ping_timeout")]
    #[schemars(range(min = 1000, max = 300_000))]
    pub ping_timeout_milliseconds: i32,

    /// maxPayloadBytes is the size of the largest message that a client may send.
    #[serde(default = "max_payload")]
    #[schemars(range(min = 1000, max = 104_857_600))]
    pub max_payload_bytes: i32,

    /// maxConnections is how many connections one pod takes; further clients are refused. After a rollout one pod holds
    /// up to three times the mean for a while.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: i32,

    /// connectionStateRecovery gives clients that were away for a short time their rooms and the events they missed.
    #[serde(default)]
    pub connection_state_recovery: RecoverySpec,

    /// historyRetentionSeconds is the age at which messages are deleted; 0 keeps them for ever. A log that is there already
    /// keeps its own: see "What NATS must be" in docs/operations.md.
    #[serde(default = "retention")]
    #[schemars(range(min = 0, max = 3_153_600_000_i64))]
    pub history_retention_seconds: i64,

    /// logLevel is the least severe level that servers log.
    #[serde(default)]
    pub log_level: LogLevel,
}

impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            transports: both_transports(),
            cors: CorsSpec::default(),
            ping_interval_milliseconds: ping_interval(),
            ping_timeout_milliseconds: ping_timeout(),
            max_payload_bytes: max_payload(),
            max_connections: max_connections(),
            connection_state_recovery: RecoverySpec::default(),
            history_retention_seconds: retention(),
            log_level: LogLevel::default(),
        }
    }
}

/// How clients carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

/// Which pages of other origins may connect.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!('*' in self.origins) || (size(self.origins) == 1 && self.credentials == 'Omit')")
        .message("'*' in `origins` must stand alone and with `credentials: Omit`: browsers refuse it otherwise; list the origins instead"),
    validation = Rule::new("self.origins.all(o, o == '*' || o.matches('^https?://[-a-z0-9.:\\\\[\\\\]]+$'))")
        .message("`origins` must be as browsers send them: 'http' or 'https', host and port in lower case and no path, such as 'https://chat.example.com', or '*' for all")
        .field_path(".origins"),
)]
pub struct CorsSpec {
    /// origins such as `https://chat.example.com`, or '*' for all.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub origins: Vec<String>,
    /// credentials says whether browsers may send cookies along.
    #[serde(default)]
    pub credentials: CorsCredentials,
}

/// Whether browsers send cookies along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CorsCredentials {
    /// They may.
    Include,
    /// They may not.
    #[default]
    Omit,
}

/// Connection state recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverySpec {
    /// state says whether there is recovery. Without it each reconnect is a new session.
    #[serde(default)]
    pub state: super::Presence,
    /// windowSeconds is how long a client may be away.
    #[serde(default = "window")]
    #[schemars(range(min = 1, max = 86_400))]
    pub window_seconds: i32,
}

impl Default for RecoverySpec {
    fn default() -> Self {
        Self {
            state: super::Presence::Enabled,
            window_seconds: window(),
        }
    }
}

/// Severity of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogLevel {
    /// Failures that someone must look at.
    Error,
    /// Also what may become a failure.
    Warn,
    /// Also what happens once: start, drain, end.
    #[default]
    Info,
    /// Also what happens per connection.
    Debug,
    /// Also what happens per packet.
    Trace,
}

fn both_transports() -> Vec<Transport> {
    vec![Transport::Polling, Transport::WebSocket]
}

fn ping_interval() -> i32 {
    milliseconds(EngineSection::default().ping_interval)
}

fn ping_timeout() -> i32 {
    milliseconds(EngineSection::default().ping_timeout)
}

fn max_payload() -> i32 {
    number(EngineSection::default().max_payload_bytes)
}

fn max_connections() -> i32 {
    number(LimitsSection::default().connections)
}

fn window() -> i32 {
    number(RecoverySection::default().window.0.as_secs())
}

fn retention() -> i64 {
    i64::from(number(HistorySection::default().retention.0.as_secs()))
}

fn milliseconds(duration: crate::DurationText) -> i32 {
    i32::try_from(duration.0.as_millis()).expect("a default fits its field")
}

fn number(value: u64) -> i32 {
    i32::try_from(value).expect("a default fits its field")
}
