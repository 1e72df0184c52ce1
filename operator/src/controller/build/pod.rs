//! The pod: one server, which meets the restricted Pod Security Standard.

pub(super) mod container;
pub(super) mod volumes;

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{
    Affinity, ConfigMap, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, SeccompProfile, Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use super::pods;
use crate::controller::validate::Validated;
use crate::names;
use chatcluster_chat_api::cluster::TopologySpread;

/// The user that the image's files belong to; no name is known for it.
const USER: i64 = 65_532;
/// How long a pod waits for its node to come back. Its clients are elsewhere in seconds; the default is five minutes.
const NODE_GONE_SECONDS: i64 = 30;

pub(super) fn template(cluster: &Validated, config_map: &ConfigMap) -> PodTemplateSpec {
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            annotations: Some(names::labels(&[(
                names::SECRETS_HASH,
                &cluster.secrets_hash,
            )])),
            ..Default::default()
        }),
        spec: Some(spec(cluster, config_map)),
    };
    if let Some(over) = &cluster.pod_template {
        template.merge_from(over.clone());
    }
    // After the user's: a pod without these is found by nobody.
    let metadata = template.metadata.get_or_insert_default();
    let labels = metadata.labels.get_or_insert_default();
    labels.extend(cluster.names.labels());
    labels.extend(names::labels(&[(names::ACCEPTING, "true")]));
    template
}

fn spec(cluster: &Validated, config_map: &ConfigMap) -> PodSpec {
    PodSpec {
        service_account_name: Some(cluster.names.own()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(security_context()),
        termination_grace_period_seconds: Some(cluster.termination_grace_seconds),
        tolerations: Some(tolerations()),
        affinity: apart_in_zones(cluster),
        topology_spread_constraints: topology_spread(cluster),
        containers: vec![container::server(cluster)],
        volumes: Some(volumes::all(cluster, &config_map.name_any())),
        ..Default::default()
    }
}

pub(super) fn security_context() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..Default::default()
    }
}

fn tolerations() -> Vec<Toleration> {
    [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    .map(|key| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(NODE_GONE_SECONDS),
        value: None,
    })
    .to_vec()
}

fn topology_spread(cluster: &Validated) -> Option<Vec<TopologySpreadConstraint>> {
    let when = match cluster.availability.topology_spread {
        TopologySpread::Preferred => "ScheduleAnyway",
        TopologySpread::Required => "DoNotSchedule",
        TopologySpread::Disabled => return None,
    };
    Some(vec![TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: when.to_owned(),
        label_selector: Some(pods(cluster)),
        ..Default::default()
    }])
}

/// Zones are a wish in any case: a cluster in one zone must not wait for another. As a constraint beside that of nodes it would
/// undo that one where nodes name no zone: the scheduler scores only nodes that have the keys of all soft constraints.
fn apart_in_zones(cluster: &Validated) -> Option<Affinity> {
    if cluster.availability.topology_spread == TopologySpread::Disabled {
        return None;
    }
    let wish = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            topology_key: "topology.kubernetes.io/zone".to_owned(),
            label_selector: Some(pods(cluster)),
            ..Default::default()
        },
    };
    Some(Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![wish]),
            ..Default::default()
        }),
        ..Default::default()
    })
}
