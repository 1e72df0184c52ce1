//! Whole looks against an API server that writes down what it was asked: order, idempotence, repair, and for each error the
//! condition that tells it.

mod api;
mod deletion;
mod nats;
mod reloads;
mod rights;
mod rollouts;
mod routes;
mod world;

use serde_json::json;

use super::*;
use crate::fixtures;
use world::World;

#[tokio::test]
async fn the_first_look_creates_what_pods_need_before_them_and_their_clients_after() {
    let world = World::minimal();
    world.look().await.unwrap();
    let wrote = world.wrote();
    let config = wrote
        .iter()
        .find(|what| what.contains("configmaps/chat-config-"))
        .unwrap()
        .clone();
    assert_eq!(
        wrote,
        [
            "POST serviceaccounts/chat",
            "POST secrets/chat-peers",
            "POST secrets/chat-nats",
            "POST configmaps/chat-nats",
            "POST services/chat-nats",
            "POST networkpolicies/chat-nats",
            "POST statefulsets/chat-nats",
            &config,
            "POST services/chat-pods",
            "POST services/chat",
            "POST networkpolicies/chat",
            "POST poddisruptionbudgets/chat",
            "POST statefulsets/chat",
            "APPLY chatclusters/chat/status",
        ]
    );
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "NatsNotReady".to_owned())
    );
    assert_eq!(
        world.condition("Degraded"),
        ("False".to_owned(), "AsExpected".to_owned())
    );
    assert_eq!(world.api.events(), ["Created"]);
}

#[tokio::test]
async fn a_cluster_that_is_as_it_shall_be_is_ready_and_not_written() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "AllPodsReady".to_owned())
    );
    let status = world.cluster().status.unwrap();
    assert_eq!(
        (
            status.replicas,
            status.ready_replicas,
            status.observed_generation
        ),
        (Some(3), Some(3), Some(1))
    );
    assert_eq!(
        status.endpoints.unwrap().url.as_deref(),
        Some("http://chat.team.svc")
    );
    world.wrote();
    world.look().await.unwrap();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn the_full_example_is_ready_and_idle_too() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    // An API server writes amounts its own way.
    world.api.edit("statefulsets/chat", |set| {
        let resources = &mut set["spec"]["template"]["spec"]["containers"][0]["resources"];
        resources["requests"]["cpu"] = "1".into();
    });
    world.api.edit("ingresses/chat", |ingress| {
        ingress["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    });
    world.control();
    world.look().await.unwrap();
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    assert_eq!(world.condition("Ready").0, "True");
    assert_eq!(
        world.condition("IngressReady"),
        ("True".to_owned(), "AddressAssigned".to_owned())
    );
    assert_eq!(
        world
            .cluster()
            .status
            .unwrap()
            .endpoints
            .unwrap()
            .url
            .as_deref(),
        Some("https://support.example.com")
    );
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_back_under_the_uid_and_recorded_as_applied() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("services/chat", |service| {
        service["spec"]["ports"][0]["port"] = 8080.into()
    });
    world.look().await.unwrap();
    let writes = world.api.writes();
    let whats: Vec<&str> = writes.iter().map(|write| write.what.as_str()).collect();
    assert_eq!(whats, ["MERGE services/chat", "APPLY services/chat"]);
    assert_eq!(
        writes[0].body["metadata"]["managedFields"][0]["operation"],
        "Apply"
    );
    assert_eq!(writes[1].body["metadata"]["uid"], "uid-of-services/chat");
    assert_eq!(
        world.api.get("services/chat").unwrap()["spec"]["ports"][0]["port"],
        80
    );
    assert!(world.api.events().contains(&"Updated".to_owned()));
}

#[tokio::test]
async fn what_others_add_stays() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("services/chat", |service| {
        service["metadata"]["annotations"]["example.com/mine"] = "x".into();
        service["spec"]["clusterIP"] = "10.0.0.1".into();
    });
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn a_child_that_was_deleted_is_made_again() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.remove("poddisruptionbudgets/chat");
    world.look().await.unwrap();
    assert_eq!(world.wrote(), ["POST poddisruptionbudgets/chat"]);
}

#[tokio::test]
async fn a_foreign_object_is_named_and_never_touched() {
    let world = World::minimal();
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "chat" }, "spec": { "ports": [] } });
    world.api.put("services", &foreign);
    let before = world.api.get("services/chat");
    let error = world.look().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff);
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "ForeignObject".to_owned())
    );
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "ForeignObject".to_owned())
    );
    assert!(
        world
            .message("Degraded")
            .starts_with("Service 'chat' exists and does not belong to this ChatCluster")
    );
    assert_eq!(world.api.get("services/chat"), before);
    assert!(
        world.api.get("statefulsets/chat").is_none(),
        "pods before their Service"
    );
}

#[tokio::test]
async fn a_foreign_stateful_set_says_nothing_about_the_cluster() {
    let world = World::minimal();
    world.api.put("statefulsets", json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "chat" },
        "spec": { "selector": {}, "serviceName": "", "template": {} },
        "status": { "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 1 },
    }));
    world.look().await.unwrap_err();
    assert_eq!(world.cluster().status.unwrap().replicas, Some(0));
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
}

#[tokio::test]
async fn a_child_of_a_namesake_that_was_deleted_is_not_taken_over() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["uid"] = "another".into()
    });
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
}

#[tokio::test]
async fn each_failure_has_its_condition_and_its_event() {
    for (method, path, code, reason) in [
        ("POST", "/serviceaccounts", 403, "ApplyRefused"),
        ("POST", "/statefulsets", 422, "ApplyRefused"),
        ("POST", "/services", 500, "ApplyFailed"),
        ("POST", "/configmaps", 409, "Conflict"),
        ("GET", "/pods", 500, "ReadFailed"),
        ("GET", "/services/chat", 403, "ReadFailed"),
    ] {
        let world = World::minimal();
        world.api.fail(method, path, code);
        let error = world.look().await.unwrap_err();
        assert_eq!(
            (error.reason(), error.retry()),
            (reason, Retry::Backoff),
            "{method} {path}"
        );
        assert_eq!(
            world.condition("Degraded"),
            ("True".to_owned(), reason.to_owned()),
            "{method} {path}"
        );
        assert_ne!(world.condition("Ready").0, "True");
        assert!(
            world.message("Degraded").contains(&code.to_string()),
            "the API server's own words"
        );
        assert!(
            world.api.events().contains(&reason.to_owned()),
            "{method} {path}"
        );
        assert_eq!(
            world.context.backoff.len(),
            0,
            "counted by the error policy, not here"
        );

        world.api.heal();
        world.look().await.unwrap();
        assert_eq!(world.condition("Degraded").0, "False", "{method} {path}");
        assert!(
            world.api.events().contains(&"Recovered".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_not_what_it_was() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    world.api.fail("GET", "/statefulsets/chat", 500);
    world.look().await.unwrap_err();
    for kind in ["Ready", "Available", "Progressing", "NatsConnected"] {
        assert_eq!(
            world.condition(kind),
            ("Unknown".to_owned(), "NotObserved".to_owned()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_then_succeeds() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.edit("services/chat", |service| {
        service["spec"]["ports"][0]["port"] = 8080.into()
    });
    world.api.fail("PATCH", "/services/chat", 409);
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("Conflict", Retry::Backoff)
    );
    world.api.heal();
    world.look().await.unwrap();
    assert_eq!(
        world.api.get("services/chat").unwrap()["spec"]["ports"][0]["port"],
        80
    );
}

#[tokio::test]
async fn an_absent_secret_is_a_condition_and_what_runs_stays() {
    let spec =
        "nats: {mode: External, urls: ['nats://a'], tokenSecretRef: {name: nats, key: token}}";
    let mut cluster = fixtures::cluster(spec);
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    world.wrote();
    world.api.remove("secrets/nats");
    let error = world.look().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff, "Secrets are not watched");
    assert_eq!(world.wrote(), ["APPLY chatclusters/chat/status"]);
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "SecretMissing".to_owned())
    );
    assert_eq!(world.condition("Available").0, "True");
    assert!(
        world
            .message("Degraded")
            .contains("Secret 'nats' with the entry 'token' is missing")
    );
}

#[tokio::test]
async fn a_secret_with_another_value_is_read_by_servers_and_rolls_nothing() {
    let spec =
        "nats: {mode: External, urls: ['nats://a'], tokenSecretRef: {name: nats, key: token}}";
    let mut cluster = fixtures::cluster(spec);
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("secrets/nats", |secret| {
        secret["data"]["token"] = "b3RoZXI=".into()
    });
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_told_once_and_not_tried_again() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["podTemplate"] = json!({ "spec": { "contianers": [] } });
    });
    world.wrote();
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("InvalidSpec", Retry::AwaitChange)
    );
    assert!(
        world
            .message("Degraded")
            .contains("spec.podTemplate.spec.contianers")
    );
    assert_eq!(world.cluster().status.unwrap().observed_generation, Some(2));
    world.wrote();
    world.look().await.unwrap_err();
    assert_eq!(
        world.wrote(),
        Vec::<String>::new(),
        "the same status is not written again"
    );
}

#[tokio::test]
async fn while_paused_only_the_status_is_written() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["reconciliation"] = "Paused".into();
        cluster["spec"]["replicas"] = 5.into();
    });
    world.api.remove("services/chat");
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), ["APPLY chatclusters/chat/status"]);
    assert_eq!(world.condition("ReconciliationPaused").0, "True");
    assert_eq!(
        world.condition("Ready"),
        ("Unknown".to_owned(), "ReconciliationPaused".to_owned())
    );
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["reconciliation"] = "Active".into()
    });
    world.look().await.unwrap();
    assert!(world.wrote().contains(&"POST services/chat".to_owned()));
}

#[tokio::test]
async fn what_is_switched_off_is_deleted_and_of_others_it_is_not() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.put("ingresses", json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "chat" } }));
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["availability"]["podDisruptionBudget"] = "Disabled".into();
        cluster["spec"]["networkPolicy"] = "Disabled".into();
    });
    world.wrote();
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert_eq!(
        wrote[..3],
        [
            "DELETE networkpolicies/chat-nats",
            "DELETE networkpolicies/chat",
            "DELETE poddisruptionbudgets/chat"
        ]
    );
    assert!(world.api.get("ingresses/chat").is_some(), "somebody else's");
}

#[tokio::test]
async fn an_old_configuration_stays_until_no_pod_can_need_it() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["server"]["pingTimeoutMilliseconds"] = 9000.into()
    });
    let configs = |wrote: Vec<String>| -> Vec<String> {
        wrote
            .into_iter()
            .filter(|what| what.contains("configmaps"))
            .map(|what| what.split(' ').next().unwrap().to_owned())
            .collect()
    };
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(configs(world.wrote()), ["POST"]);
    world.look().await.unwrap();
    assert_eq!(configs(world.wrote()), Vec::<String>::new());
    let mut wrote = Vec::new();
    for _ in 0..40 {
        if world.rollout().is_none() {
            break;
        }
        world.control();
        world.servers.finish();
        wrote.extend(world.wrote());
        world.look().await.unwrap();
    }
    assert_eq!(configs(wrote), Vec::<String>::new());
    assert_eq!(configs(world.wrote()), ["DELETE"]);
}

#[tokio::test]
async fn suspended_is_asked_for_and_so_it_is_ready_and_not_available() {
    let world = World::minimal();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["state"] = "Suspended".into()
    });
    world.look().await.unwrap();
    assert_eq!(
        world.api.get("statefulsets/chat").unwrap()["spec"]["replicas"],
        0
    );
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "Suspended".to_owned())
    );
    assert_eq!(world.condition("Available").0, "False");
}

#[tokio::test]
async fn a_cluster_that_is_deleted_is_left_to_its_owner_references() {
    let world = World::minimal();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    });
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    let gone = Arc::new(world.cluster());
    world.api.remove("chatclusters/chat");
    reconcile(gone, Arc::clone(&world.context)).await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn no_secret_leaves_its_place() {
    let world = World::minimal();
    world.look().await.unwrap();
    let of = |secret: &str, entry: &str| {
        let secret = world.api.get(&format!("secrets/{secret}")).unwrap();
        let secret = secret["data"][entry].as_str().unwrap().to_owned();
        assert!(secret.len() > 40, "{}", secret.len());
        secret
    };
    let secrets = [
        of("chat-peers", "relay-secret"),
        of("chat-nats", "password"),
    ];
    for write in world
        .api
        .writes()
        .iter()
        .filter(|write| !write.what.contains("secrets/"))
    {
        let body = write.body.to_string();
        for secret in &secrets {
            let plain = base64_decoded(secret);
            assert!(
                !body.contains(secret) && !body.contains(&plain),
                "{}",
                write.what
            );
        }
    }
}

/// What a Secret's entry says.
fn base64_decoded(entry: &str) -> String {
    let value: k8s_openapi::ByteString = serde_json::from_value(json!(entry)).unwrap();
    String::from_utf8(value.0).unwrap()
}

#[test]
fn an_error_is_told_with_its_causes_once() {
    let status = kube::core::Status {
        code: 422,
        message: "spec.ports: Required value".to_owned(),
        ..Default::default()
    };
    let error = Error::Apply(apply::Error::Refused {
        kind: "Service".to_owned(),
        name: "chat".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(status))),
    });
    assert_eq!(
        chain(&error),
        "the API server refuses Service 'chat': spec.ports: Required value"
    );
}
