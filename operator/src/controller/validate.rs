//! The second step, pure: from what was written and what is there to a cluster that can be built.
//!
//! Whoever holds a [`Validated`] checks nothing again. What the API server can judge by itself is a rule in the schema
//! (`chat_api::cluster`); here stands what needs other objects or the server's own rules. All problems are reported at
//! once.

mod nats;
mod pod_template;
mod secrets;
mod server_config;

use chatcluster_chat_api::cluster::{
    AvailabilitySpec, ChatCluster, ImageSpec, IngressController, IngressSpec, Presence, PullPolicy,
    Reconciliation, State, Transport,
};
use chatcluster_chat_api::{Problem, ServerConfig};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use super::dereference::Dereferenced;
use crate::names::{self, Names};
pub(crate) use nats::{ManagedNats, Nats};
pub(crate) use secrets::{MountedSecret, mounted};
pub(crate) use server_config::PEERS;

/// Fewest bytes of a secret that servers share; they refuse shorter ones.
const LEAST_PEER_SECRET_BYTES: usize = 16;
/// What a pod gets beyond its drain's deadline: the server ends, and its container with it.
pub(crate) const AFTER_DRAIN_SECONDS: i64 = 30;

/// A cluster that can be built.
#[derive(Clone, Debug)]
pub(crate) struct Validated {
    pub(crate) names: Names,
    pub(crate) owner: OwnerReference,
    /// Pods that shall run: none while suspended.
    pub(crate) replicas: i32,
    pub(crate) image: String,
    pub(crate) pull_policy: PullPolicy,
    /// What servers read, which is valid by their own rules.
    pub(crate) config: ServerConfig,
    /// The Secrets' entries that pods see as files.
    pub(crate) secrets: Vec<MountedSecret>,
    /// Changes when a secret does that the operator made. Others are read again by servers that run.
    pub(crate) secrets_hash: String,
    /// What all pods share to know each other.
    pub(crate) peer_secret: Vec<u8>,
    pub(crate) termination_grace_seconds: i64,
    pub(crate) availability: AvailabilitySpec,
    pub(crate) network_policy: Presence,
    /// Where NetworkPolicies let the operator in from.
    pub(crate) operator_namespace: String,
    pub(crate) nats: Nats,
    /// Whether there is an API for backends.
    pub(crate) has_api: bool,
    pub(crate) ingress: Route,
    pub(crate) pod_template: Option<PodTemplateSpec>,
}

/// How clients come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) controller: IngressController,
    pub(crate) spec: IngressSpec,
    /// Requests of one client must reach one pod: it may use long-polling.
    pub(crate) is_sticky: bool,
    pub(crate) max_payload_bytes: i32,
    /// Heartbeats keep a connection from being silent for longer.
    pub(crate) heartbeat_seconds: i32,
}

/// What holds for all ChatClusters of this operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The server's image where none is named.
    pub(crate) server_image: String,
    /// The image of NATS where none is named.
    pub(crate) nats_image: String,
    /// Where the operator runs.
    pub(crate) operator_namespace: String,
}

/// The cluster cannot be built as it is written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Fields that contradict the server's rules.
    #[error("the spec cannot work: {}", join(.0))]
    Invalid(Vec<Problem>),
    /// Secrets, or entries of them, that are not there (yet).
    #[error("{}", .0.join("; "))]
    SecretMissing(Vec<String>),
}

/// The names of the children.
pub(crate) fn names(cluster: &ChatCluster) -> Names {
    Names {
        cluster: cluster.name_any(),
        namespace: cluster.namespace().unwrap_or_default(),
    }
}

/// Whether the operator shall keep its hands off.
pub(crate) fn is_paused(cluster: &ChatCluster) -> bool {
    cluster.spec.reconciliation == Reconciliation::Paused
}

/// How many pods shall run.
pub(crate) fn wanted_replicas(cluster: &ChatCluster) -> i32 {
    match cluster.spec.state {
        State::Running => cluster.spec.replicas,
        State::Suspended => 0,
    }
}

/// The image that pods shall run.
pub(crate) fn image(cluster: &ChatCluster, settings: &Settings) -> String {
    let image = cluster.spec.image.as_ref();
    image.map_or_else(|| settings.server_image.clone(), ImageSpec::to_string)
}

/// Checks it. `fresh` becomes the secret that pods share, if there is none yet.
pub(crate) fn validate(
    cluster: &ChatCluster,
    found: &Dereferenced,
    settings: &Settings,
    fresh: &[u8],
) -> Result<Validated, Error> {
    let names = names(cluster);
    let mut secrets = secrets::mounted(&cluster.spec);
    secrets.extend(nats::mounted(&cluster.spec.nats, &names));
    let config = server_config::render(cluster, &names, &secrets);
    let mut problems = config
        .validate()
        .err()
        .map(|found| found.0)
        .unwrap_or_default();
    let nats = nats::of(cluster, found, settings, &config.nats.prefix, fresh);
    let nats = nats.map_err(|problem| problems.push(problem)).ok();
    let pod_template = pod_template::parse(cluster.spec.pod_template.as_ref(), &mut problems);
    let (Some(nats), true) = (nats, problems.is_empty()) else {
        return Err(Error::Invalid(problems));
    };
    let peer_secret = peer_secret(found).unwrap_or_else(|| hex(fresh).into_bytes());
    let own = [&peer_secret[..], nats.password()].concat();
    let missing = secrets::missing(&secrets::mounted(&cluster.spec), &found.secrets);
    if !missing.is_empty() {
        return Err(Error::SecretMissing(missing));
    }
    let spec = &cluster.spec;
    Ok(Validated {
        owner: cluster
            .controller_owner_ref(&())
            .expect("an object of the API server has a name and a uid"),
        replicas: wanted_replicas(cluster),
        image: image(cluster, settings),
        pull_policy: spec
            .image
            .as_ref()
            .map(|image| image.pull_policy)
            .unwrap_or_default(),
        nats,
        config,
        secrets,
        // 64 bits of a hash of 32 random bytes say nothing about them.
        secrets_hash: short_hash(&own),
        peer_secret,
        termination_grace_seconds: i64::from(spec.drain.deadline_seconds) + AFTER_DRAIN_SECONDS,
        availability: spec.availability.clone(),
        network_policy: spec.network_policy,
        operator_namespace: settings.operator_namespace.clone(),
        has_api: spec.api.is_some(),
        ingress: route(cluster),
        pod_template,
        names,
    })
}

/// How clients shall come in.
pub(crate) fn route(cluster: &ChatCluster) -> Route {
    let server = &cluster.spec.server;
    let heartbeat = server.ping_interval_milliseconds + server.ping_timeout_milliseconds;
    Route {
        controller: cluster.spec.ingress.controller,
        spec: cluster.spec.ingress.clone(),
        is_sticky: server.transports.contains(&Transport::Polling),
        max_payload_bytes: server.max_payload_bytes,
        heartbeat_seconds: heartbeat / 1000 + 1,
    }
}

/// The one that is there, if servers can use it: they read text.
fn peer_secret(found: &Dereferenced) -> Option<Vec<u8>> {
    let data = found.live.peers.as_ref()?.data.as_ref()?;
    let secret = &data.get(names::PEER_SECRET_KEY)?.0;
    let text = std::str::from_utf8(secret).ok()?;
    (text.trim_end().len() >= LEAST_PEER_SECRET_BYTES).then(|| secret.clone())
}

/// A short text that names this content: 16 hexadecimal digits.
pub(crate) fn short_hash(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    hex(&digest[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn join(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;

    use super::*;
    use crate::fixtures;

    fn error(yaml: &str) -> String {
        let cluster = fixtures::cluster(yaml);
        fixtures::validate(&cluster).unwrap_err().to_string()
    }

    #[test]
    fn both_examples_are_valid() {
        let minimal = fixtures::validate(&fixtures::minimal()).unwrap();
        assert_eq!(minimal.replicas, 3);
        let full = fixtures::validate(&fixtures::full()).unwrap();
        assert_eq!(full.termination_grace_seconds, 150);
    }

    #[test]
    fn suspended_keeps_the_number_and_runs_none() {
        let mut cluster = fixtures::minimal();
        cluster.spec.state = State::Suspended;
        assert_eq!(fixtures::validate(&cluster).unwrap().replicas, 0);
        assert_eq!(cluster.spec.replicas, 3);
    }

    #[test]
    fn the_rules_of_the_server_hold_even_where_the_schema_has_none() {
        let yaml = "nats: {mode: External, urls: ['nats://a..b']}\nserver: {cors: {origins: ['https://a:x']}}\n";
        let said = error(yaml);
        assert!(
            said.contains("nats.urls: found `nats://a..b`; allowed: "),
            "{said}"
        );
        assert!(said.contains("cors.origins: "), "{said}");
    }

    #[test]
    fn absent_secrets_are_all_named_with_what_would_help() {
        let yaml = "auth: {type: Jwt, jwt: {keySecretRef: {name: jwt, key: key}}}\n\
                    nats: {mode: External, urls: ['nats://a'], tokenSecretRef: {name: there, key: other}}\n";
        let cluster = fixtures::cluster(yaml);
        let mut found = fixtures::found(&cluster);
        found.secrets.insert("jwt".to_owned(), None);
        found.secrets.insert(
            "there".to_owned(),
            Some(super::super::dereference::SecretFacts::default()),
        );
        let error =
            super::validate(&cluster, &found, &fixtures::settings(), &fixtures::FRESH).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Secret 'jwt' with the entry 'key' is missing: create it (`spec.auth.jwt.keySecretRef`); \
             Secret 'there' has no entry 'other': add it (`spec.nats.tokenSecretRef`)"
        );
    }

    fn peers(value: &[u8]) -> Secret {
        let value = ByteString(value.to_vec());
        Secret {
            data: Some([(names::PEER_SECRET_KEY.to_owned(), value)].into()),
            ..Default::default()
        }
    }

    #[test]
    fn the_peer_secret_is_made_once_as_text() {
        let cluster = fixtures::cluster("nats: {mode: External, urls: ['nats://a']}");
        let mut found = fixtures::found(&cluster);
        let validate = |found: &Dereferenced, fresh| {
            super::validate(&cluster, found, &fixtures::settings(), fresh).unwrap()
        };
        let made = validate(&found, &[0xf7; 32]);
        assert_eq!(made.peer_secret, "f7".repeat(32).into_bytes());
        found.live.peers = Some(peers(&made.peer_secret));
        let kept = validate(&found, &[9; 32]);
        assert_eq!(kept.peer_secret, made.peer_secret);
        assert_eq!(kept.secrets_hash, made.secrets_hash);
    }

    #[test]
    fn a_peer_secret_that_servers_cannot_use_is_made_again_and_pods_are_rolled() {
        let cluster = fixtures::minimal();
        let mut found = fixtures::found(&cluster);
        let validate = |found: &Dereferenced| {
            super::validate(&cluster, found, &fixtures::settings(), &[9; 32]).unwrap()
        };
        found.live.peers = Some(peers(&[b'a'; 64]));
        let before = validate(&found);
        for unusable in [b"short".as_slice(), &[0xff; 64], &[b'\n'; 64]] {
            found.live.peers = Some(peers(unusable));
            let again = validate(&found);
            assert_eq!(again.peer_secret, "09".repeat(32).into_bytes());
            assert_ne!(
                again.secrets_hash, before.secrets_hash,
                "pods with another secret do not know each other"
            );
        }
    }
}
