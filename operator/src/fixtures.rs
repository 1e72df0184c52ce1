//! What tests are made of: the two examples that users read, and an API server of one namespace that writes down what it was
//! asked, keeps objects as a real one does in what matters here, and fails when it is told to.

mod api;
pub(crate) mod rights;
mod servers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_chat_api::cluster::{ChatCluster, ChatClusterSpec};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::backoff::Backoff;
use crate::controller::Context;
use crate::controller::dereference::{Dereferenced, Live, SecretFacts};
use crate::controller::validate::{self, Error, Settings, Validated};
use crate::events::Events;
use crate::metrics::Metrics;
pub(crate) use api::Api;
pub(crate) use servers::ScriptedServers;

/// The namespace of all of them.
pub(crate) const NAMESPACE: &str = "team";
/// Stands for what is drawn at random.
pub(crate) const FRESH: [u8; 32] = [0x5a; 32];

/// `examples/chatcluster-minimal.yaml`, as an API server returns it.
pub(crate) fn minimal() -> ChatCluster {
    read(include_str!("../../examples/chatcluster-minimal.yaml"))
}

/// `examples/chatcluster-full.yaml`.
pub(crate) fn full() -> ChatCluster {
    read(include_str!("../../examples/chatcluster-full.yaml"))
}

/// `examples/chatcluster-managed.yaml`.
pub(crate) fn managed() -> ChatCluster {
    read(include_str!("../../examples/chatcluster-managed.yaml"))
}

/// One with this spec.
pub(crate) fn cluster(spec: &str) -> ChatCluster {
    let spec: ChatClusterSpec = serde_yaml::from_str(spec).unwrap();
    admitted(ChatCluster::new("talk", spec))
}

fn read(yaml: &str) -> ChatCluster {
    admitted(serde_yaml::from_str(yaml).unwrap())
}

/// With what an API server adds.
fn admitted(mut cluster: ChatCluster) -> ChatCluster {
    cluster.metadata.namespace = Some(NAMESPACE.to_owned());
    cluster.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    cluster.metadata.generation = Some(1);
    cluster
}

/// How the operator is set up.
pub(crate) fn settings() -> Settings {
    Settings {
        server_image: "registry.example.com/chatcluster-server:0.1.0".to_owned(),
        nats_image: "registry.example.com/nats:2.15.2".to_owned(),
        operator_namespace: "chatcluster-system".to_owned(),
    }
}

/// What looks share, before this API server and these servers.
pub(crate) fn context(api: &Api, servers: &ScriptedServers) -> Context {
    let client = api.client();
    Context {
        settings: settings(),
        events: Events::new(client.clone(), "operator-0".to_owned()),
        metrics: Arc::new(Metrics::new()),
        backoff: Backoff::default(),
        servers: Box::new(servers.clone()),
        resync: Duration::from_secs(300),
        client,
    }
}

/// Everything that the cluster names is there, and nothing else.
pub(crate) fn found(cluster: &ChatCluster) -> Dereferenced {
    let mut secrets: BTreeMap<String, Option<SecretFacts>> = BTreeMap::new();
    for mounted in validate::mounted(&cluster.spec) {
        let facts = secrets
            .entry(mounted.secret)
            .or_default()
            .get_or_insert_default();
        facts.0.extend(mounted.keys);
    }
    Dereferenced {
        secrets,
        live: Live::default(),
        pods: Vec::new(),
        nats_pods: Vec::new(),
    }
}

/// Through the real `validate`.
pub(crate) fn validate(cluster: &ChatCluster) -> Result<Validated, Error> {
    validate::validate(cluster, &found(cluster), &settings(), &FRESH)
}

/// A pod with an address.
pub(crate) fn pod(name: &str, is_ready: bool) -> Pod {
    let condition = PodCondition {
        type_: "Ready".to_owned(),
        status: if is_ready { "True" } else { "False" }.to_owned(),
        ..Default::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        status: Some(PodStatus {
            pod_ip: Some("127.0.0.1".to_owned()),
            conditions: Some(vec![condition]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
