//! The StatefulSet: pods with numbers, replaced one after another.

use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{meta, pod, pods};
use crate::controller::validate::Validated;

/// Revisions that are kept; nothing rolls back to one, a spec that is written again does.
const REVISIONS: i32 = 3;

pub(super) fn build(cluster: &Validated, config_map: &ConfigMap) -> StatefulSet {
    StatefulSet {
        metadata: meta(cluster, cluster.names.own()),
        spec: Some(StatefulSetSpec {
            service_name: Some(cluster.names.headless()),
            // Pods do not wait for each other to start: each is whole by itself.
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(cluster.replicas),
            selector: pods(cluster),
            min_ready_seconds: Some(cluster.availability.min_ready_seconds),
            revision_history_limit: Some(REVISIONS),
            // Kubernetes' own course: from the highest pod down, the next when the last is ready. Each is drained by its
            // preStop hook. Partition 0 leaves none out.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(0),
                    ..Default::default()
                }),
            }),
            template: pod::template(cluster, config_map),
            ..Default::default()
        }),
        status: None,
    }
}
