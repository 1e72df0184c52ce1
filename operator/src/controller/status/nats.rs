//! What Kubernetes says of the nats-server that the operator runs.

use kube::ResourceExt as _;

use super::{ObservedNats, pods};

/// What is not as it shall be, for people.
pub(super) fn obstacle(nats: &ObservedNats) -> Option<String> {
    let Some(set) = &nats.stateful_set else {
        return Some("there is no StatefulSet of NATS".to_owned());
    };
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas);
    let wanted = wanted.unwrap_or(1);
    let status = set.status.clone().unwrap_or_default();
    let is_settled = status.observed_generation.is_some()
        && status.observed_generation == set.metadata.generation
        && status.replicas == wanted
        && status.updated_replicas.unwrap_or(0) == wanted
        && status.ready_replicas.unwrap_or(0) == wanted;
    if is_settled {
        return None;
    }
    if let Some((_, trouble)) = nats.pods.iter().find_map(pods::trouble) {
        return Some(trouble);
    }
    let Some(pod) = nats.pods.first() else {
        return Some("the pod of NATS is not there yet".to_owned());
    };
    let name = pod.name_any();
    Some(if pods::is_leaving(pod) {
        // Two servers on one volume would ruin the log, so who is not heard of is not taken for gone.
        format!("pod {name} is ending; from a node that is lost it has to be deleted by hand")
    } else if pods::is_ready(pod) {
        format!("pod {name} is being replaced")
    } else {
        format!("pod {name} is not ready: it starts, or NATS does not answer")
    })
}
