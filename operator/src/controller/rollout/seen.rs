//! Kubernetes' objects, and what servers say, as the planner sees them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self as core, ContainerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Node, Pod, Seen, Server, Shape};
use crate::controller::servers::Drain;
use crate::controller::status::pods::is_ready;
use crate::names::{ACCEPTING, CONTAINER};

/// The label by which the StatefulSet controller says which revision a pod is of.
const REVISION: &str = "controller-revision-hash";
/// A pod that has not been ready for so long is not waited for, where another one can stand in.
const STUCK_SECONDS: i64 = 60;

/// What is known of pods beyond the pods themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What servers say, by the name of their pod.
    pub(crate) drains: BTreeMap<String, Drain>,
    /// Nodes by what is known of them. Only those are looked up whose pods have not ended in time.
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// Whether a pod should have ended by now.
pub(crate) fn is_overdue(pod: &core::Pod, now: Timestamp) -> bool {
    let by = pod.metadata.deletion_timestamp.as_ref();
    by.is_some_and(|by| by.0 < now)
}

/// The shape that a StatefulSet has.
pub(crate) fn shape(set: &StatefulSet) -> Shape {
    let spec = set.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let ordinals = spec.and_then(|spec| spec.ordinals.as_ref());
    Shape {
        replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        start: ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0),
        partition: rolling.and_then(|rolling| rolling.partition).unwrap_or(0),
    }
}

/// All of it.
pub(crate) fn read(
    set: &StatefulSet,
    is_template_wanted: bool,
    pods: &[core::Pod],
    known: &Known,
    now: Timestamp,
) -> Seen {
    let status = set.status.clone().unwrap_or_default();
    let least = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    let least = i64::from(least.unwrap_or(0));
    let owned = pods.iter().filter(|pod| is_of(pod, set));
    let mut pods: Vec<Pod> = owned
        .filter_map(|owned| pod(owned, &set.name_any(), least, known, now))
        .collect();
    pods.sort_by_key(|pod| pod.ordinal);
    Seen {
        now: now.as_second(),
        shape: shape(set),
        is_template_wanted,
        is_observed: status.observed_generation.is_some()
            && status.observed_generation == set.metadata.generation,
        current_revision: status.current_revision.unwrap_or_default(),
        update_revision: status.update_revision.unwrap_or_default(),
        pods,
    }
}

/// What each pod's server says of its clients, by the name of its pod.
pub(crate) fn servers_of(
    set: &StatefulSet,
    pods: &[core::Pod],
    known: &Known,
    now: Timestamp,
) -> BTreeMap<String, Server> {
    let pods = read(set, true, pods, known, now).pods;
    pods.into_iter().map(|pod| (pod.name, pod.server)).collect()
}

fn is_of(pod: &core::Pod, set: &StatefulSet) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == set.uid().as_ref())
}

fn pod(
    pod: &core::Pod,
    set: &str,
    least_ready_seconds: i64,
    known: &Known,
    now: Timestamp,
) -> Option<Pod> {
    let name = pod.name_any();
    let ordinal = name.strip_prefix(set)?.strip_prefix('-')?.parse().ok()?;
    let is_ready = is_ready(pod);
    let age = now.as_second() - since(pod).map_or(now.as_second(), |time| time.0.as_second());
    let labels = pod.labels();
    Some(Pod {
        ordinal,
        revision: labels.get(REVISION).cloned().unwrap_or_default(),
        is_ready,
        is_available: is_ready && age >= least_ready_seconds,
        ready_since: since(pod)
            .filter(|_| is_ready)
            .map(|time| time.0.as_second()),
        is_stuck: !is_ready && age > STUCK_SECONDS,
        is_accepting: labels.get(ACCEPTING).is_some_and(|value| value == "true"),
        leaves_by: pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .map(|by| by.0.as_second()),
        node: node(pod, known),
        server: server(pod, known.drains.get(&name)),
        name,
    })
}

/// Since when it is, or is not, ready.
fn since(pod: &core::Pod) -> Option<&Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref();
    let ready = conditions.and_then(|all| all.iter().find(|one| one.type_ == "Ready"));
    ready
        .and_then(|ready| ready.last_transition_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref())
}

fn node(pod: &core::Pod, known: &Known) -> Node {
    // What somebody else has still to do with it is not the node's fault, and no force would end it.
    if !pod.finalizers().is_empty() {
        return Node::Reachable;
    }
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    let found = name.and_then(|name| known.nodes.get(name));
    found.copied().unwrap_or(Node::Unknown)
}

fn server(pod: &core::Pod, drain: Option<&Drain>) -> Server {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let is_running = |status: &ContainerStatus| {
        status.name == CONTAINER
            && status
                .state
                .as_ref()
                .is_some_and(|state| state.running.is_some())
    };
    if !statuses.is_some_and(|all| all.iter().any(is_running)) {
        return Server::Absent;
    }
    match drain {
        None => Server::Silent,
        Some(drain) if drain.done => Server::Drained,
        Some(drain) if drain.draining => Server::Draining(drain.sessions),
        Some(drain) => Server::Serving(drain.sessions),
    }
}

/// The nodes of pods that have not ended in time.
pub(crate) fn doubtful_nodes(pods: &[core::Pod], now: Timestamp) -> BTreeSet<String> {
    let overdue = pods.iter().filter(|pod| is_overdue(pod, now));
    overdue
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect()
}

/// What a node's own object says.
pub(crate) fn node_of(node: Option<&core::Node>) -> Node {
    let conditions = node
        .and_then(|node| node.status.as_ref())
        .and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    });
    if is_ready {
        Node::Reachable
    } else {
        Node::Lost
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": { "name": "chat", "uid": "set", "generation": 4 },
            "spec": {
                "replicas": 3, "ordinals": { "start": 2 }, "minReadySeconds": 10, "selector": {}, "serviceName": "x", "template": {},
                "updateStrategy": { "rollingUpdate": { "partition": 1 } },
            },
            "status": { "observedGeneration": 4, "replicas": 3, "currentRevision": "chat-a", "updateRevision": "chat-b" },
        }))
        .unwrap()
    }

    /// A ready pod with `over` laid over it.
    fn pod(name: &str, change: impl FnOnce(&mut Value)) -> core::Pod {
        let mut pod = json!({
            "metadata": {
                "name": name, "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat", "uid": "set", "controller": true }],
                "labels": { "controller-revision-hash": "chat-b", "chatcluster.dev/accepting": "true" },
            },
            "spec": { "containers": [], "nodeName": "n1" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_second(NOW - 5).unwrap().to_string() }],
                "containerStatuses": [{ "name": "server", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} } }],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn seen(pods: &[core::Pod], known: &Known) -> Seen {
        read(
            &set(),
            true,
            pods,
            known,
            Timestamp::from_second(NOW).unwrap(),
        )
    }

    #[test]
    fn numbers_and_revisions_are_the_stateful_sets() {
        let seen = seen(&[], &Known::default());
        let shape = Shape {
            replicas: 3,
            start: 2,
            partition: 1,
        };
        assert_eq!((seen.shape, seen.is_observed), (shape, true));
        assert_eq!(
            (
                seen.current_revision.as_str(),
                seen.update_revision.as_str()
            ),
            ("chat-a", "chat-b")
        );
        let mut behind = set();
        behind.metadata.generation = Some(5);
        assert!(!read(&behind, true, &[], &Known::default(), Timestamp::UNIX_EPOCH).is_observed);
    }

    #[test]
    fn pods_come_in_the_order_of_numbers_and_others_pods_not_at_all() {
        let foreign = pod("chat-2", |pod| {
            pod["metadata"]["ownerReferences"][0]["uid"] = "other".into()
        });
        let named_otherwise = pod("other-2", |_| {});
        let pods = [
            pod("chat-10", |_| {}),
            pod("chat-9", |_| {}),
            foreign,
            named_otherwise,
        ];
        let numbers: Vec<i32> = seen(&pods, &Known::default())
            .pods
            .iter()
            .map(|pod| pod.ordinal)
            .collect();
        assert_eq!(numbers, [9, 10]);
    }

    #[test]
    fn ready_is_not_yet_available_and_not_ready_for_long_is_stuck() {
        let since = |seconds: i64, status: &str| {
            let time = Timestamp::from_second(NOW - seconds).unwrap().to_string();
            let changed = pod("chat-2", |pod| {
                pod["status"]["conditions"][0]["lastTransitionTime"] = time.into();
                pod["status"]["conditions"][0]["status"] = status.into();
            });
            let seen = seen(&[changed], &Known::default());
            let Pod {
                is_ready,
                is_available,
                is_stuck,
                ..
            } = seen.pods[0];
            (is_ready, is_available, is_stuck)
        };
        assert_eq!(since(5, "True"), (true, false, false));
        assert_eq!(since(10, "True"), (true, true, false));
        assert_eq!(since(60, "False"), (false, false, false));
        assert_eq!(since(61, "False"), (false, false, true));
    }

    #[test]
    fn a_server_is_what_it_says_and_absent_only_where_no_container_runs() {
        let said = |draining, done| {
            let drain = Drain {
                draining,
                sessions: 4,
                done,
            };
            let known = Known {
                drains: [("chat-2".to_owned(), drain)].into(),
                ..Known::default()
            };
            seen(&[pod("chat-2", |_| {})], &known).pods[0].server
        };
        assert_eq!(said(false, false), Server::Serving(4));
        assert_eq!(said(true, false), Server::Draining(4));
        assert_eq!(said(true, true), Server::Drained);
        let silent = |change: fn(&mut Value)| {
            seen(&[pod("chat-2", change)], &Known::default()).pods[0].server
        };
        assert_eq!(silent(|_| {}), Server::Silent, "it may have clients");
        assert_eq!(
            silent(|pod| pod["status"]["containerStatuses"][0]["state"] = json!({ "waiting": {} })),
            Server::Absent
        );
        assert_eq!(
            silent(|pod| pod["status"]["containerStatuses"] = json!([])),
            Server::Absent
        );
    }

    #[test]
    fn a_node_is_judged_only_for_a_pod_that_nothing_else_holds() {
        let known = Known {
            nodes: [("n1".to_owned(), Node::Lost)].into(),
            ..Known::default()
        };
        let node = |change: fn(&mut Value)| seen(&[pod("chat-2", change)], &known).pods[0].node;
        assert_eq!(node(|_| {}), Node::Lost);
        assert_eq!(
            node(|pod| pod["spec"]["nodeName"] = "n2".into()),
            Node::Unknown
        );
        assert_eq!(
            node(|pod| pod["metadata"]["finalizers"] = json!(["example.com/x"])),
            Node::Reachable
        );
        let status = |ready: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        let of = |ready: &str| node_of(Some(&serde_json::from_value(status(ready)).unwrap()));
        assert_eq!(
            (of("True"), of("Unknown"), node_of(None)),
            (Node::Reachable, Node::Lost, Node::Lost)
        );
    }
}
