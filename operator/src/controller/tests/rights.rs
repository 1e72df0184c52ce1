//! Each right that the chart gives is needed. That no other one is, every test sees: the scripted API server knows the chart's rules.

use std::collections::BTreeSet;

use super::*;
use crate::fixtures::rights;
use crate::leader::Election;

fn choose(world: &World, ingress: serde_json::Value) {
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["ingress"] = ingress
    });
}

/// Changes children, which are put back.
async fn meddle(world: &World, keys: &[&str]) {
    for key in keys {
        world.api.edit(key, |child| {
            child["metadata"]["annotations"]["chatcluster.dev/desired-hash"] = "x".into()
        });
    }
    world.look().await.unwrap();
}

async fn stand_for_election(world: &World) {
    let (client, lease) = (world.api.client(), Duration::from_secs(15));
    let (namespace, name) = ("chatcluster-system", "chatcluster-operator");
    let election = Election::new(client, namespace, name, "a", lease);
    election.win().await;
    election.release().await;
}

#[tokio::test]
async fn nothing_is_granted_that_is_not_used() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    let config = world.set()["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].clone();
    let config = format!("configmaps/{}", config.as_str().unwrap());
    // Twice, because an event that comes again is counted, not made anew.
    for _ in 0..2 {
        meddle(
            &world,
            &[
                "serviceaccounts/chat",
                "secrets/chat-peers",
                &config,
                "services/chat",
                "networkpolicies/chat",
                "poddisruptionbudgets/chat",
                "statefulsets/chat",
                "ingresses/chat",
            ],
        )
        .await;
    }

    let gateway = json!({ "controller": "EnvoyGateway", "gatewayRef": { "name": "public" } });
    choose(&world, gateway);
    world.look().await.unwrap();
    meddle(&world, &["httproutes/chat", "backendtrafficpolicies/chat"]).await;
    choose(&world, json!({ "controller": "None" }));
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["availability"]["podDisruptionBudget"] = "Disabled".into();
        cluster["spec"]["networkPolicy"] = "Disabled".into();
        cluster["spec"].as_object_mut().unwrap().remove("api");
        cluster["spec"]["server"]["pingTimeoutMilliseconds"] = 9000.into();
    });
    world.look().await.unwrap();
    world.finish().await;

    world.api.edit("pods/chat-1", |pod| {
        pod["spec"] = json!({ "nodeName": "n1", "containers": [] });
        pod["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    });
    world.look().await.unwrap();

    let now = Timestamp::now().to_string();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["deletionTimestamp"] = now.into();
    });
    world.look().await.unwrap();

    stand_for_election(&world).await;
    let used = world.api.used();
    // What is watched is `app`'s to use.
    let unused: BTreeSet<String> = rights::granted()
        .into_iter()
        .filter(|right| !right.starts_with("list ") && !right.starts_with("watch "))
        .filter(|right| !used.contains(right))
        .collect();
    assert_eq!(unused, BTreeSet::new());
}
