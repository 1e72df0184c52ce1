//! The nats-server that the operator runs, if no other one was named (`docs/adr/0028-managed-nats.md`): one pod with a volume,
//! which only the servers reach, as a user who may do what they need and nothing else.

mod config;
mod pod;
#[cfg(test)]
mod real;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, Service, ServiceSpec,
    VolumeResourceRequirements,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{network_policy, services};
use crate::controller::validate::{ManagedNats, Validated, short_hash};
use crate::names::{self, CONFIG_HASH, NATS_CONFIG_KEY, NATS_PASSWORD_KEY, ports};

/// The volume, and with it the beginning of its claim's name.
const DATA: &str = "data";

/// Its objects.
#[derive(Clone, Debug)]
pub(crate) struct Nats {
    pub(crate) secret: Secret,
    pub(crate) config_map: ConfigMap,
    pub(crate) service: Service,
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) stateful_set: StatefulSet,
}

pub(super) fn build(cluster: &Validated) -> Option<Nats> {
    let nats = cluster.nats.managed()?;
    let config = config::render(cluster, nats);
    Some(Nats {
        secret: secret(cluster, nats),
        stateful_set: stateful_set(cluster, nats, &short_hash(config.as_bytes())),
        config_map: ConfigMap {
            metadata: meta(cluster),
            data: Some([(NATS_CONFIG_KEY.to_owned(), config)].into()),
            ..Default::default()
        },
        service: service(cluster),
        network_policy: network_policy::of_nats(cluster),
    })
}

/// Finds its pod.
pub(super) fn pods(cluster: &Validated) -> LabelSelector {
    LabelSelector {
        match_labels: Some(cluster.names.nats_selector()),
        match_expressions: None,
    }
}

pub(super) fn meta(cluster: &Validated) -> ObjectMeta {
    ObjectMeta {
        labels: Some(cluster.names.nats_labels()),
        ..super::meta(cluster, cluster.names.nats())
    }
}

/// What servers read; NATS reads a hash of it.
fn secret(cluster: &Validated, nats: &ManagedNats) -> Secret {
    let password = ByteString(nats.password.0.clone().into_bytes());
    Secret {
        metadata: meta(cluster),
        type_: Some("Opaque".to_owned()),
        data: Some([(NATS_PASSWORD_KEY.to_owned(), password)].into()),
        ..Default::default()
    }
}

/// With an address of its own: names of pods are cached, and a server must not look for NATS where it was half a minute ago.
fn service(cluster: &Validated) -> Service {
    Service {
        metadata: meta(cluster),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            // NATS listens when it has read its volume; probes would say so seconds later.
            publish_not_ready_addresses: Some(true),
            selector: Some(cluster.names.nats_selector()),
            ports: Some(vec![services::port(
                ports::NATS_NAME,
                ports::NATS,
                ports::NATS_NAME,
            )]),
            ..Default::default()
        }),
        status: None,
    }
}

fn stateful_set(cluster: &Validated, nats: &ManagedNats, config_hash: &str) -> StatefulSet {
    let retain = || Some("Retain".to_owned());
    let mut template = pod::template(cluster, nats);
    let metadata = template.metadata.get_or_insert_default();
    metadata.annotations = Some(names::labels(&[(CONFIG_HASH, config_hash)]));
    StatefulSet {
        metadata: meta(cluster),
        spec: Some(StatefulSetSpec {
            replicas: Some(nats.replicas),
            service_name: Some(cluster.names.nats()),
            selector: pods(cluster),
            // With one pod there is no order. 'OrderedReady' would wait for ever for a pod of a bad image to get ready before
            // it replaces it.
            pod_management_policy: Some("Parallel".to_owned()),
            // The log is nobody's to delete but the user's.
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: retain(),
                    when_scaled: retain(),
                },
            ),
            volume_claim_templates: Some(vec![claim(cluster, nats)]),
            template,
            ..Default::default()
        }),
        status: None,
    }
}

fn claim(cluster: &Validated, nats: &ManagedNats) -> PersistentVolumeClaim {
    let size = Quantity(nats.spec.storage_size.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            // A claim outlives the ChatCluster; by these it is found.
            labels: Some(cluster.names.nats_selector()),
            ..Default::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: nats.spec.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..Default::default()
        }),
        status: None,
    }
}
