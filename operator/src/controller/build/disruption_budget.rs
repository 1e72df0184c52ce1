//! Evictions take one pod at a time. It restrains evictions only: neither rollouts nor scaling look at it.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{meta, pods};
use crate::controller::validate::Validated;
use chatcluster_chat_api::cluster::Presence;

pub(super) fn build(cluster: &Validated) -> Option<PodDisruptionBudget> {
    (cluster.availability.pod_disruption_budget == Presence::Enabled).then(|| PodDisruptionBudget {
        metadata: meta(cluster, cluster.names.own()),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(pods(cluster)),
            max_unavailable: Some(IntOrString::Int(1)),
            // A pod that is not ready helps nobody by staying, and must not keep a node from being emptied.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        status: None,
    })
}
