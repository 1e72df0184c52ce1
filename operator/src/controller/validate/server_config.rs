//! `ChatCluster` to the file that its servers read.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chatcluster_chat_api::cluster::{
    AuthType, ChatCluster, CorsCredentials, DrainSpec, JwtAlgorithm, LogLevel, NatsMode, NatsSpec,
    NatsStorage, Presence, ServerSpec, Transport,
};
use chatcluster_chat_api::{
    ApiSection, AuthSection, CorsSection, DrainSection, DurationText, EngineSection,
    HistorySection, JwtSection, LimitsSection, NatsSection, NatsTlsSection, RecoverySection,
    RelaySection, ServerConfig,
};

use super::nats::retention_bytes;
use super::secrets::{self, MountedSecret, folders};
use crate::names::{NATS_USER, Names, PEER_SECRET_KEY, paths, ports};

/// The folder of the secret that pods share.
pub(crate) const PEERS: &str = "peers";

/// Renders it. Fields that stay at the server's default are those that a pod has no reason to change.
pub(super) fn render(
    cluster: &ChatCluster,
    names: &Names,
    secrets: &[MountedSecret],
) -> ServerConfig {
    let spec = &cluster.spec;
    ServerConfig {
        listen: everywhere(ports::CLIENTS),
        admin_listen: everywhere(ports::ADMIN),
        data_dir: paths::DATA.into(),
        log_level: log_level(spec.server.log_level),
        engine: engine(&spec.server),
        cors: CorsSection {
            origins: spec.server.cors.origins.clone(),
            credentials: spec.server.cors.credentials == CorsCredentials::Include,
        },
        recovery: RecoverySection {
            enabled: spec.server.connection_state_recovery.state == Presence::Enabled,
            window: seconds(spec.server.connection_state_recovery.window_seconds.into()),
            ..RecoverySection::default()
        },
        auth: auth(cluster, secrets),
        history: HistorySection {
            retention: seconds(spec.server.history_retention_seconds),
            ..HistorySection::default()
        },
        limits: LimitsSection {
            connections: number(spec.server.max_connections.into()),
            // Behind an ingress all clients have its address.
            connections_per_address: 0,
            ..LimitsSection::default()
        },
        drain: drain(&spec.drain),
        nats: nats(&spec.nats, names, secrets),
        api: api(secrets),
        relay: RelaySection {
            listen: Some(everywhere(ports::RELAY)),
            secret_file: Some(format!("{}/{PEERS}/{PEER_SECRET_KEY}", paths::SECRETS).into()),
            ..RelaySection::default()
        },
        ..ServerConfig::default()
    }
}

fn engine(server: &ServerSpec) -> EngineSection {
    let default = EngineSection::default();
    let max_payload_bytes = number(server.max_payload_bytes.into());
    EngineSection {
        ping_interval: milliseconds(server.ping_interval_milliseconds),
        ping_timeout: milliseconds(server.ping_timeout_milliseconds),
        max_payload_bytes,
        // One message must fit.
        max_send_queue_bytes: default.max_send_queue_bytes.max(max_payload_bytes),
        transports: server
            .transports
            .iter()
            .map(|transport| match transport {
                Transport::Polling => chatcluster_chat_api::Transport::Polling,
                Transport::WebSocket => chatcluster_chat_api::Transport::Websocket,
            })
            .collect(),
        ..default
    }
}

fn auth(cluster: &ChatCluster, secrets: &[MountedSecret]) -> AuthSection {
    match (cluster.spec.auth.kind, &cluster.spec.auth.jwt) {
        (AuthType::Jwt, Some(jwt)) => AuthSection {
            kind: chatcluster_chat_api::AuthType::Jwt,
            jwt: Some(JwtSection {
                algorithms: jwt.algorithms.iter().copied().map(algorithm).collect(),
                key_file: secrets::file(secrets, folders::JWT),
                jwks_file: secrets::file(secrets, folders::JWKS),
                issuer: jwt.issuer.clone(),
                audience: jwt.audience.clone(),
                clock_skew: seconds(jwt.clock_skew_seconds.into()),
            }),
        },
        // Without rules the server refuses to start, and says why.
        (AuthType::Jwt, None) => AuthSection {
            kind: chatcluster_chat_api::AuthType::Jwt,
            jwt: None,
        },
        (AuthType::None, _) => AuthSection::default(),
    }
}

fn api(secrets: &[MountedSecret]) -> ApiSection {
    match secrets::file(secrets, folders::API) {
        Some(token_file) => ApiSection {
            listen: everywhere(ports::API),
            token_file: Some(token_file),
        },
        None => ApiSection::default(),
    }
}

fn algorithm(algorithm: JwtAlgorithm) -> chatcluster_chat_api::JwtAlgorithm {
    match algorithm {
        JwtAlgorithm::HS256 => chatcluster_chat_api::JwtAlgorithm::Hs256,
        JwtAlgorithm::RS256 => chatcluster_chat_api::JwtAlgorithm::Rs256,
        JwtAlgorithm::ES256 => chatcluster_chat_api::JwtAlgorithm::Es256,
    }
}

fn drain(drain: &DrainSpec) -> DrainSection {
    DrainSection {
        settle: seconds(drain.settle_seconds.into()),
        deadline: seconds(drain.deadline_seconds.into()),
        rate: number(drain.clients_per_second.into()),
    }
}

fn nats(nats: &NatsSpec, names: &Names, secrets: &[MountedSecret]) -> NatsSection {
    let derived = || format!("{}.{}", names.namespace, names.cluster);
    let client = |key: &str| {
        let mounted = secrets
            .iter()
            .find(|mounted| mounted.folder == folders::NATS_CLIENT)?;
        Some(format!("{}/{key}", mounted.path()).into())
    };
    let is_managed = nats.mode == NatsMode::Managed;
    NatsSection {
        urls: if is_managed {
            vec![names.nats_url()]
        } else {
            nats.urls.clone()
        },
        prefix: nats.subject_prefix.clone().unwrap_or_else(derived),
        replicas: number(nats.replicas.into()),
        storage: match nats.storage {
            NatsStorage::File => chatcluster_chat_api::NatsStorage::File,
            NatsStorage::Memory => chatcluster_chat_api::NatsStorage::Memory,
        },
        retention_bytes: retention_bytes(nats),
        user: if is_managed {
            Some(NATS_USER.to_owned())
        } else {
            nats.user.clone()
        },
        password_file: secrets::file(secrets, folders::NATS_PASSWORD),
        token_file: secrets::file(secrets, folders::NATS_TOKEN),
        credentials_file: secrets::file(secrets, folders::NATS_CREDENTIALS),
        tls: NatsTlsSection {
            ca_file: secrets::file(secrets, folders::NATS_CA),
            cert_file: client(secrets::TLS_CERT),
            key_file: client(secrets::TLS_KEY),
        },
        ..NatsSection::default()
    }
}

fn log_level(level: LogLevel) -> chatcluster_chat_api::LogLevel {
    match level {
        LogLevel::Error => chatcluster_chat_api::LogLevel::Error,
        LogLevel::Warn => chatcluster_chat_api::LogLevel::Warn,
        LogLevel::Info => chatcluster_chat_api::LogLevel::Info,
        LogLevel::Debug => chatcluster_chat_api::LogLevel::Debug,
        LogLevel::Trace => chatcluster_chat_api::LogLevel::Trace,
    }
}

/// A pod has an address that is not known before it starts.
fn everywhere(port: i32) -> SocketAddr {
    let port = u16::try_from(port).expect("ports are constants that fit");
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

fn seconds(seconds: i64) -> DurationText {
    DurationText(Duration::from_secs(number(seconds)))
}

fn milliseconds(milliseconds: i32) -> DurationText {
    DurationText(Duration::from_millis(number(milliseconds.into())))
}

/// The schema admits no negative number; one would become 0, which the server's rules judge.
pub(super) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
