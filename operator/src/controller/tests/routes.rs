//! What leads clients in, and the change from one ingress controller to another.

use super::*;

/// The full example with another controller, as `chat`.
fn at_a_gateway() -> ChatCluster {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let mut written = json!(cluster.spec.ingress);
    for (field, value) in [
        ("controller", json!("EnvoyGateway")),
        ("gatewayRef", json!({ "name": "public" })),
        ("className", json!(null)),
        ("tlsSecretRef", json!(null)),
    ] {
        written[field] = value;
    }
    cluster.spec.ingress = serde_json::from_value(written).unwrap();
    cluster
}

#[tokio::test]
async fn another_dialect_takes_the_place_of_the_old_one_and_nothing_of_it_is_left() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    assert!(world.wrote().contains(&"POST ingresses/chat".to_owned()));
    let choose = |ingress: serde_json::Value| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"]["ingress"] = ingress
        });
    };
    choose(json!(at_a_gateway().spec.ingress));
    world.look().await.unwrap();
    assert_eq!(
        world.wrote()[..3],
        [
            "POST httproutes/chat",
            "POST backendtrafficpolicies/chat",
            "DELETE ingresses/chat"
        ]
    );
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new(), "an idle look");

    choose(json!({ "controller": "Traefik", "host": "a.example" }));
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert_eq!(
        wrote[..5],
        [
            "MERGE services/chat",
            "APPLY services/chat",
            "POST ingresses/chat",
            "DELETE httproutes/chat",
            "DELETE backendtrafficpolicies/chat"
        ]
    );

    choose(json!({ "controller": "ClientIP" }));
    world.look().await.unwrap();
    let service = world.api.get("services/chat").unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    choose(json!({ "controller": "None" }));
    world.look().await.unwrap();
    let service = world.api.get("services/chat").unwrap();
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert!(service["spec"]["sessionAffinity"].is_null(), "{service}");
    assert!(world.api.get("ingresses/chat").is_none());
}

#[tokio::test]
async fn what_changed_by_hand_in_a_route_is_put_back() {
    let world = World::new(&at_a_gateway());
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("httproutes/chat", |route| {
        route["spec"]["hostnames"] = json!(["other.example"])
    });
    world.look().await.unwrap();
    assert_eq!(
        world.wrote(),
        ["MERGE httproutes/chat", "APPLY httproutes/chat"]
    );
    let route = world.api.get("httproutes/chat").unwrap();
    assert_eq!(route["spec"]["hostnames"], json!(["support.example.com"]));
    assert_eq!(route["kind"], "HTTPRoute");
}

#[tokio::test]
async fn without_the_definitions_of_the_gateway_api_the_rest_goes_on() {
    let world = World::new(&at_a_gateway());
    world.api.lacks(&["httproutes", "backendtrafficpolicies"]);
    world.look().await.unwrap();
    assert_eq!(
        world.condition("IngressReady"),
        ("False".to_owned(), "KindNotInstalled".to_owned())
    );
    assert_eq!(
        world.message("IngressReady"),
        "the API server does not know HTTPRoute (gateway.networking.k8s.io/v1) and BackendTrafficPolicy \
         (gateway.envoyproxy.io/v1alpha1): install the definitions of the Gateway API and of its controller"
    );
    assert_eq!(world.condition("Degraded").0, "False");
    assert!(world.api.get("statefulsets/chat").is_some());

    world.api.heal();
    world.look().await.unwrap();
    assert!(world.api.get("httproutes/chat").is_some());
    assert_eq!(world.condition("IngressReady").1, "NoAnswer");
    world.api.edit("httproutes/chat", |route| {
        let said = |kind| json!({ "type": kind, "status": "True", "observedGeneration": 1 });
        route["status"] =
            json!({ "parents": [{ "conditions": [said("Accepted"), said("ResolvedRefs")] }] });
    });
    world.look().await.unwrap();
    assert_eq!(
        world.condition("IngressReady"),
        ("True".to_owned(), "RouteAccepted".to_owned())
    );
}

#[tokio::test]
async fn a_foreign_route_is_named_where_it_is_in_the_way_and_left_where_it_is_not() {
    let foreign = json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "chat" }, "spec": {} });
    let world = World::new(&at_a_gateway());
    world.api.put("httproutes", &foreign);
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
    assert!(
        world
            .message("Degraded")
            .starts_with("HTTPRoute 'chat' exists and does not belong to this ChatCluster")
    );

    let world = World::minimal();
    world.api.put("httproutes", &foreign);
    world.look().await.unwrap();
    world.look().await.unwrap();
    assert!(world.api.get("httproutes/chat").is_some());
    assert_eq!(world.condition("Degraded").0, "False");
}

#[tokio::test]
async fn no_right_to_read_routes_is_no_failure_while_there_are_none() {
    let world = World::minimal();
    world.api.fail("GET", "/httproutes/chat", 403);
    world.look().await.unwrap();
    assert_eq!(world.condition("Degraded").0, "False");

    let world = World::new(&at_a_gateway());
    world.api.fail("GET", "/httproutes/chat", 403);
    world.api.fail("POST", "/httproutes", 403);
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ApplyRefused");
}
