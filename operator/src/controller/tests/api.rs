//! HTTP for backends: there as long as it is asked for.

use super::*;

#[tokio::test]
async fn an_api_is_served_as_long_as_it_is_asked_for() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    assert_eq!(world.api.get("services/chat-api"), None);
    world.api.put("secrets", json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "backends" }, "data": { "tokens": "c2VjcmV0" } }));
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["api"] =
            json!({ "tokensSecretRef": { "name": "backends", "key": "tokens" } });
    });
    world.look().await.unwrap();
    let service = world.api.get("services/chat-api").unwrap();
    assert_eq!(service["spec"]["ports"][0]["port"], 9091);
    let endpoints = |world: &World| world.cluster().status.unwrap().endpoints.unwrap();
    assert_eq!(
        endpoints(&world).api_url.as_deref(),
        Some("http://chat-api.team.svc:9091")
    );
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"].as_object_mut().unwrap().remove("api");
    });
    world.wrote();
    world.look().await.unwrap();
    assert!(
        world
            .wrote()
            .contains(&"DELETE services/chat-api".to_owned())
    );
    assert_eq!(endpoints(&world).api_url, None);
}

#[tokio::test]
async fn without_its_tokens_the_status_names_the_secret_and_nothing_is_changed() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    let before = world.set();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["api"] =
            json!({ "tokensSecretRef": { "name": "backends", "key": "tokens" } });
    });
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").0, "True");
    let said = world.message("Degraded");
    assert!(
        said.contains("'backends'") && said.contains("spec.api.tokensSecretRef"),
        "{said}"
    );
    assert_eq!(world.set(), before);
}

#[tokio::test]
async fn somebody_elses_service_of_that_name_is_named_and_keeps_backends_waiting_alone() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    let other = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "chat-api" }, "spec": {} });
    world.api.put("services", &other);
    world.look().await.unwrap_err();
    assert!(world.message("Degraded").contains("Service 'chat-api'"));
    assert!(world.api.get("statefulsets/chat").is_some());
    assert!(world.api.get("ingresses/chat").is_some());
}
