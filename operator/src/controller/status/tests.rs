//! Statements about states that are hard to bring about, and the time of transitions.

use chatcluster_chat_api::cluster::ChatCluster;
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::fixtures;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn observed(pods: Vec<Pod>) -> Observed {
    Observed {
        is_known: true,
        pods,
        ..Observed::default()
    }
}

/// A StatefulSet of three pods, of which `updated` have the newest revision and `ready` are ready.
fn set(updated: i32, ready: i32) -> StatefulSet {
    StatefulSet {
        metadata: ObjectMeta {
            generation: Some(2),
            ..Default::default()
        },
        status: Some(StatefulSetStatus {
            observed_generation: Some(2),
            replicas: 3,
            updated_replicas: Some(updated),
            ready_replicas: Some(ready),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn condition(cluster: &ChatCluster, observed: &Observed, kind: &str) -> (String, String, String) {
    let status = build(cluster, observed, &fixtures::settings(), at(1));
    let found = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    (found.status, found.reason, found.message)
}

fn pod(value: serde_json::Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_time_of_a_transition_moves_only_with_the_status() {
    let mut cluster = fixtures::minimal();
    let none = observed(Vec::new());
    let first = build(&cluster, &none, &fixtures::settings(), at(100));
    assert!(
        first
            .conditions
            .iter()
            .all(|condition| condition.last_transition_time.0 == at(100))
    );
    cluster.status = Some(first.clone());
    assert_eq!(
        build(&cluster, &none, &fixtures::settings(), at(200)),
        first,
        "nothing happened, nothing to write"
    );

    let one = observed(vec![fixtures::pod("chat-0", true)]);
    let second = build(&cluster, &one, &fixtures::settings(), at(300));
    let moved: Vec<&str> = second
        .conditions
        .iter()
        .filter(|condition| condition.last_transition_time.0 == at(300))
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(moved, ["Available", "NatsConnected"]);
}

#[test]
fn conditions_of_others_stay_and_are_not_written() {
    let mut cluster = fixtures::minimal();
    let theirs = Condition {
        type_: "example.com/Audited".to_owned(),
        status: "True".to_owned(),
        reason: "Looked".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(at(1)),
    };
    cluster.status = Some(ChatClusterStatus {
        conditions: vec![theirs.clone()],
        ..Default::default()
    });
    let status = build(
        &cluster,
        &observed(Vec::new()),
        &fixtures::settings(),
        at(2),
    );
    assert_eq!(status.conditions[0], theirs);
    let own = conditions::own(&status.conditions);
    assert_eq!(own.len(), status.conditions.len() - 1);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_with_its_pod() {
    let stuck = pod(json!({
        "metadata": { "name": "chat-2" },
        "status": { "containerStatuses": [{
            "name": "server", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "manifest unknown" } },
        }] },
    }));
    let said = condition(&fixtures::minimal(), &observed(vec![stuck]), "Degraded");
    assert_eq!(
        said,
        (
            "True".into(),
            "PodFailing".into(),
            "pod chat-2: ImagePullBackOff: manifest unknown".into()
        )
    );
}

#[test]
fn a_server_that_ends_again_and_again_is_named_with_its_exit_code() {
    let stuck = pod(json!({
        "metadata": { "name": "chat-0" },
        "status": { "containerStatuses": [{
            "name": "server", "image": "x", "imageID": "", "ready": false, "restartCount": 4,
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
            "lastState": { "terminated": { "exitCode": 1 } },
        }] },
    }));
    let (_, _, message) = condition(&fixtures::minimal(), &observed(vec![stuck]), "Degraded");
    assert_eq!(
        message,
        "pod chat-0: CrashLoopBackOff: it ended with exit code 1; see its log"
    );
}

#[test]
fn a_pod_without_a_node_is_named() {
    let waiting = pod(json!({
        "metadata": { "name": "chat-2" },
        "status": { "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" }] },
    }));
    let said = condition(&fixtures::minimal(), &observed(vec![waiting]), "Degraded");
    assert_eq!(said.1, "PodUnschedulable");
    assert!(said.2.ends_with("0/3 nodes are available"));
}

#[test]
fn a_pod_that_starts_is_no_trouble() {
    let starting = pod(json!({
        "metadata": { "name": "chat-0" },
        "status": { "containerStatuses": [{
            "name": "server", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }] },
    }));
    assert_eq!(
        condition(&fixtures::minimal(), &observed(vec![starting]), "Degraded").0,
        "False"
    );
}

#[test]
fn nats_is_connected_when_a_pod_proves_it_and_not_when_one_says_otherwise() {
    let cluster = fixtures::minimal();
    let said = |observed: &Observed| condition(&cluster, observed, "NatsConnected");
    assert_eq!(said(&observed(Vec::new())).0, "Unknown");
    assert_eq!(
        said(&observed(vec![fixtures::pod("chat-0", true)])).0,
        "True"
    );
    let mut one_apart = observed(vec![
        fixtures::pod("chat-0", true),
        fixtures::pod("chat-1", false),
    ]);
    one_apart.apart = vec![Apart {
        pod: "chat-1".to_owned(),
        reason: "no answer from NATS".to_owned(),
    }];
    let (status, reason, message) = said(&one_apart);
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "PodsNotConnected")
    );
    assert_eq!(message, "chat-1: no answer from NATS");
    assert_eq!(
        condition(&cluster, &one_apart, "Degraded").0,
        "False",
        "the others go on"
    );

    let mut all_apart = observed(vec![fixtures::pod("chat-1", false)]);
    all_apart.apart = one_apart.apart;
    assert_eq!(
        condition(&cluster, &all_apart, "Degraded").1,
        "NatsUnreachable"
    );
}

#[test]
fn pods_that_end_are_draining_and_not_counted_as_available() {
    let mut leaving = fixtures::pod("chat-2", true);
    leaving.metadata.deletion_timestamp = Some(Time(at(5)));
    let observed = observed(vec![leaving]);
    let cluster = fixtures::minimal();
    let (status, _, message) = condition(&cluster, &observed, "Draining");
    assert_eq!(
        (status.as_str(), message.as_str()),
        ("True", "pods that let their clients go: chat-2")
    );
    assert_eq!(condition(&cluster, &observed, "Available").0, "False");
}

#[test]
fn progress_says_what_is_under_way() {
    let cluster = fixtures::minimal();
    let progressing = |set: StatefulSet| {
        let observed = Observed {
            is_known: true,
            stateful_set: Some(set),
            ..Observed::default()
        };
        condition(&cluster, &observed, "Progressing").1
    };
    assert_eq!(progressing(set(3, 3)), "Settled");
    assert_eq!(progressing(set(1, 3)), "RollingOut");
    assert_eq!(progressing(set(3, 2)), "PodsStarting");
    let mut scaling = set(3, 3);
    scaling.status.as_mut().unwrap().replicas = 2;
    assert_eq!(progressing(scaling), "Scaling");
    let mut unseen = set(3, 3);
    unseen.metadata.generation = Some(3);
    assert_ne!(
        progressing(unseen),
        "Settled",
        "the StatefulSet controller has not seen the change"
    );
}

#[test]
fn an_ingress_without_an_address_is_not_ready_and_without_an_ingress_nobody_knows() {
    let full = fixtures::full();
    assert_eq!(
        condition(&full, &observed(Vec::new()), "IngressReady").1,
        "NotCreated"
    );
    let mut with = observed(Vec::new());
    with.entrance.ingress = Some(Ingress::default());
    assert_eq!(condition(&full, &with, "IngressReady").1, "NoAddress");
    assert_eq!(
        condition(&fixtures::minimal(), &observed(Vec::new()), "IngressReady").0,
        "Unknown"
    );
}

#[test]
fn a_load_balancer_without_a_name_is_reached_at_its_address() {
    let cluster = fixtures::cluster(
        "nats: {mode: External, urls: ['nats://a']}\ningress: {controller: ClientIP}\n",
    );
    let url = |observed: &Observed| {
        let status = build(&cluster, observed, &fixtures::settings(), at(1));
        status.endpoints.unwrap().url.unwrap()
    };
    let mut seen = observed(Vec::new());
    assert_eq!(url(&seen), "http://talk.team.svc");
    assert_eq!(condition(&cluster, &seen, "IngressReady").1, "NoAddress");
    let service = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
    seen.entrance.client_service = serde_json::from_value(service).unwrap();
    assert_eq!(url(&seen), "http://192.0.2.1");
    assert_eq!(
        condition(&cluster, &seen, "IngressReady").1,
        "AddressAssigned"
    );
}

#[test]
fn a_cap_on_connections_is_a_warning_of_its_own() {
    let cluster = fixtures::full();
    let (status, reason, _) = condition(&cluster, &observed(Vec::new()), "ConnectionsCapped");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "ReloadEndsConnections")
    );
    let none = condition(
        &fixtures::minimal(),
        &observed(Vec::new()),
        "ConnectionsCapped",
    );
    assert_eq!((none.0.as_str(), none.1.as_str()), ("False", "NoCapKnown"));
}

#[test]
fn many_pods_are_counted_and_not_all_named() {
    let mut observed = observed(Vec::new());
    observed.apart = (0..5)
        .map(|index| Apart {
            pod: format!("chat-{index}"),
            reason: "no answer".to_owned(),
        })
        .collect();
    let (_, _, message) = condition(&fixtures::minimal(), &observed, "NatsConnected");
    assert_eq!(message, "chat-0, chat-1, chat-2 and 2 more: no answer");
}
