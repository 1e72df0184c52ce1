//! The third step, pure: a valid cluster to the objects that shall exist.
//!
//! One file per kind. The same input gives the same objects, to the byte: an operator that is upgraded and builds the same
//! changes nothing.

pub(super) mod config_map;
mod disruption_budget;
pub(crate) mod ingress;
mod nats;
mod network_policy;
mod pod;
mod secret;
mod services;
pub(super) mod stateful_set;

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::DynamicObject;

use super::validate::Validated;
pub(crate) use nats::Nats;

/// Everything that shall exist. What is `None` shall not.
#[derive(Clone, Debug)]
pub(crate) struct Children {
    pub(crate) service_account: ServiceAccount,
    pub(crate) peers: Secret,
    /// What joins the pods, if the operator runs it.
    pub(crate) nats: Option<Nats>,
    pub(crate) config_map: ConfigMap,
    pub(crate) headless_service: Service,
    pub(crate) client_service: Service,
    /// For backends, if they are to be served.
    pub(crate) api_service: Option<Service>,
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) stateful_set: StatefulSet,
    pub(crate) ingress: Option<Ingress>,
    /// What the ingress dialect makes of kinds that are not Kubernetes' own.
    pub(crate) extensions: Vec<DynamicObject>,
}

/// Builds them.
///
/// # Errors
/// Configuration or template cannot be written as YAML, which no value of them is a reason for.
pub(crate) fn build(cluster: &Validated) -> Result<Children, serde_yaml::Error> {
    let config_map = config_map::build(cluster)?;
    let route = ingress::dialect(cluster.ingress.controller).route(cluster);
    let mut client_service = services::client(cluster, route.service_annotations);
    client_service.spec.merge_from(route.service_spec);
    Ok(Children {
        service_account: ServiceAccount {
            metadata: meta(cluster, cluster.names.own()),
            // Servers do not speak to Kubernetes.
            automount_service_account_token: Some(false),
            ..Default::default()
        },
        peers: secret::peers(cluster),
        nats: nats::build(cluster),
        headless_service: services::headless(cluster),
        client_service,
        api_service: services::api(cluster),
        network_policy: network_policy::build(cluster),
        disruption_budget: disruption_budget::build(cluster),
        stateful_set: stateful_set::build(cluster, &config_map)?,
        ingress: route.ingress,
        extensions: route.extensions,
        config_map,
    })
}

/// Metadata of a child.
fn meta(cluster: &Validated, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.names.namespace.clone()),
        labels: Some(cluster.names.labels()),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..Default::default()
    }
}

/// Finds the pods.
fn pods(cluster: &Validated) -> LabelSelector {
    LabelSelector {
        match_labels: Some(cluster.names.selector()),
        match_expressions: None,
    }
}

#[cfg(test)]
mod tests;
