//! The StatefulSet: pods with numbers. How many there are at the moment, from which number on, and which of them are
//! replaced is planned (`rollout`); what is built here is its form at rest, in which nothing is replaced by itself.

use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetOrdinals, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{meta, pod, pods};
use crate::controller::rollout::Shape;
use crate::controller::validate::{Validated, short_hash};
use crate::names::{self, TEMPLATE_HASH};

/// Revisions that are kept; nothing rolls back to one, a spec that is written again does.
const REVISIONS: i32 = 3;

pub(super) fn build(
    cluster: &Validated,
    config_map: &ConfigMap,
) -> Result<StatefulSet, serde_yaml::Error> {
    let template = pod::template(cluster, config_map);
    let hash = short_hash(serde_yaml::to_string(&template)?.as_bytes());
    let mut metadata = meta(cluster, cluster.names.own());
    metadata.annotations = Some(names::labels(&[(TEMPLATE_HASH, &hash)]));
    let mut set = StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            service_name: Some(cluster.names.headless()),
            // Pods do not wait for each other to start: each is whole by itself.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: pods(cluster),
            min_ready_seconds: Some(cluster.availability.min_ready_seconds),
            revision_history_limit: Some(REVISIONS),
            template,
            ..Default::default()
        }),
        status: None,
    };
    shape(&mut set, Shape::at_rest(cluster.replicas));
    Ok(set)
}

/// Gives it this shape.
pub(crate) fn shape(set: &mut StatefulSet, shape: Shape) {
    let spec = set.spec.get_or_insert_default();
    spec.replicas = Some(shape.replicas);
    spec.ordinals = Some(StatefulSetOrdinals {
        start: Some(shape.start),
    });
    spec.update_strategy = Some(StatefulSetUpdateStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateStatefulSetStrategy {
            partition: Some(shape.partition),
            ..Default::default()
        }),
    });
}
