//! The nats-server that the operator runs: made before the pods, told of truthfully, never rolled without need, never deleted
//! with what it holds.

use super::*;

async fn at_rest() -> World {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world
}

fn template(world: &World) -> serde_json::Value {
    let set = world.api.get("statefulsets/chat-nats").unwrap();
    set["spec"]["template"].clone()
}

#[tokio::test]
async fn a_nats_of_the_users_own_has_no_objects() {
    let mut cluster = fixtures::cluster("nats: {mode: External, urls: ['nats://a']}");
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert!(!wrote.iter().any(|what| what.contains("nats")), "{wrote:?}");
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn the_pod_of_nats_is_not_ready_and_the_conditions_say_so_until_it_is() {
    let world = World::minimal();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("NatsConnected"),
        ("False".to_owned(), "NatsNotReady".to_owned())
    );
    assert!(world.message("NatsConnected").contains("not there yet"));
    world.control_nats(false);
    world.look().await.unwrap();
    assert!(
        world
            .message("Ready")
            .contains("pod chat-nats-0 is not ready")
    );
    world.control();
    world.look().await.unwrap();
    for (kind, reason) in [
        ("Ready", "AllPodsReady"),
        ("NatsConnected", "PodsConnected"),
    ] {
        assert_eq!(
            world.condition(kind),
            ("True".to_owned(), reason.to_owned())
        );
    }
    // It is killed: pods that are ready still say that they read the log, and soon say that they do not.
    world.control_nats(false);
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "NatsNotReady".to_owned())
    );
    assert_eq!(
        world.condition("Progressing"),
        ("True".to_owned(), "NatsNotReady".to_owned())
    );
    world.control_nats(true);
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn why_the_pod_of_nats_will_not_get_ready_is_said() {
    let world = at_rest().await;
    world.control_nats(false);
    world.api.edit("pods/chat-nats-0", |pod| {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "pod has unbound immediate PersistentVolumeClaims",
        }]);
    });
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "PodUnschedulable".to_owned())
    );
    let said = world.message("Degraded");
    assert!(
        said.contains("chat-nats-0") && said.contains("PersistentVolumeClaims"),
        "{said}"
    );
    world.api.edit("pods/chat-nats-0", |pod| {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["status"]["conditions"] = json!([]);
    });
    world.look().await.unwrap();
    assert!(world.message("Ready").contains("deleted by hand"));
}

#[tokio::test]
async fn the_password_is_kept_and_what_does_not_change_rolls_nothing() {
    let world = at_rest().await;
    let before = (world.api.get("secrets/chat-nats"), template(&world));
    for _ in 0..3 {
        world.look().await.unwrap();
    }
    // Another wish that is none of NATS's.
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["server"]["maxConnections"] = 1000.into();
    });
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert!(!wrote.iter().any(|what| what.contains("nats")), "{wrote:?}");
    assert_eq!(
        before,
        (world.api.get("secrets/chat-nats"), template(&world))
    );
}

#[tokio::test]
async fn another_configuration_restarts_nats_and_no_server() {
    let world = at_rest().await;
    let (nats, servers) = (template(&world), world.set()["spec"]["template"].clone());
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["nats"]["managed"] = json!({ "syncIntervalSeconds": 0 });
    });
    world.look().await.unwrap();
    assert_ne!(template(&world), nats);
    assert_eq!(world.set()["spec"]["template"], servers);
    let config = world.api.get("configmaps/chat-nats").unwrap();
    let config = config["data"]["nats.conf"].as_str().unwrap();
    assert!(config.contains("sync_interval: always"), "{config}");
}

#[tokio::test]
async fn a_password_that_is_lost_is_made_anew_for_both_sides() {
    let world = at_rest().await;
    let (nats, servers) = (template(&world), world.set()["spec"]["template"].clone());
    world.api.remove("secrets/chat-nats");
    world.look().await.unwrap();
    assert_ne!(template(&world), nats);
    assert_ne!(world.set()["spec"]["template"], servers);
}

#[tokio::test]
async fn suspended_nats_ends_after_the_servers_and_its_claim_stays() {
    let world = at_rest().await;
    let replicas = |world: &World| {
        let set = world.api.get("statefulsets/chat-nats").unwrap();
        set["spec"]["replicas"].as_i64().unwrap()
    };
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["state"] = "Suspended".into();
    });
    world.look().await.unwrap();
    assert_eq!(replicas(&world), 1, "servers store their sessions");
    world.finish().await;
    world.look().await.unwrap();
    assert_eq!(replicas(&world), 0);
    let set = world.api.get("statefulsets/chat-nats").unwrap();
    assert_eq!(
        set["spec"]["persistentVolumeClaimRetentionPolicy"],
        json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
    );
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "Suspended".to_owned())
    );
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["state"] = "Running".into();
    });
    world.look().await.unwrap();
    assert_eq!(replicas(&world), 1);
}

#[tokio::test]
async fn a_foreign_object_with_the_name_of_nats_is_named_and_never_touched() {
    let world = World::minimal();
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "chat-nats" }, "spec": {} });
    world.api.put("services", &foreign);
    let before = world.api.get("services/chat-nats");
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
    assert!(world.message("Degraded").contains("Service 'chat-nats'"));
    assert_eq!(world.api.get("services/chat-nats"), before);
    assert!(world.api.get("statefulsets/chat").is_none());
}

#[tokio::test]
async fn a_log_larger_than_the_volume_is_refused_with_what_would_fit() {
    let world = at_rest().await;
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["nats"]["retentionBytes"] = 7_000_000_000_i64.into();
    });
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("InvalidSpec", Retry::AwaitChange)
    );
    let said = world.message("Degraded");
    assert!(
        said.contains("spec.nats.retentionBytes") && said.contains("at most 6442450944"),
        "{said}"
    );
}
