//! Changes that servers take over while they run: no pod is replaced, and the status says what they have loaded.

use serde_json::json;

use super::super::servers::{LoadedConfig, LoadedFile};
use super::world::{World, ip, loaded};

/// Three pods that have loaded what they see.
async fn settled() -> World {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.load();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world
}

fn change(world: &World, value: u32) {
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["server"]["maxConnections"] = value.into();
        cluster["spec"]["server"]["logLevel"] = "Debug".into();
        cluster["spec"]["drain"] = json!({ "clientsPerSecond": 7 });
    });
}

#[tokio::test]
async fn what_servers_take_over_is_written_in_place_and_proven_by_each() {
    let world = settled().await;
    let before = world.set();
    change(&world, 1000);
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert_eq!(wrote.len(), 3, "{wrote:?}");
    assert!(wrote[0].starts_with("MERGE configmaps/chat-config-"));
    assert!(wrote[1].starts_with("APPLY configmaps/chat-config-"));
    assert_eq!(wrote[2], "APPLY chatclusters/chat/status");
    assert_eq!(world.set(), before, "nothing is rolled");
    assert_eq!(
        world.condition("Progressing"),
        ("True".to_owned(), "ConfigLoading".to_owned())
    );
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "ConfigNotLoaded".to_owned())
    );
    let said = world.message("Progressing");
    assert!(said.ends_with("yet: chat-0, chat-1, chat-2"), "{said}");
    assert_eq!(world.condition("Degraded").0, "False");
    assert_eq!(world.condition("Available").0, "True");

    world.load();
    world
        .servers
        .load(ip(1), loaded("the one before".to_owned()));
    world.look().await.unwrap();
    assert!(world.message("Progressing").ends_with("yet: chat-1"));
    world.load();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Progressing"),
        ("False".to_owned(), "Settled".to_owned())
    );
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_cannot_load_is_named_with_its_reason() {
    let world = settled().await;
    change(&world, 1000);
    world.look().await.unwrap();
    world.load();
    let mut refused = loaded("the one before".to_owned());
    refused.config.problem = Some("limits.speed: found an unknown field".to_owned());
    world.servers.load(ip(2), refused);
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "ReloadRefused".to_owned())
    );
    assert_eq!(
        world.message("Degraded"),
        "pod chat-2 keeps what it had loaded before: limits.speed: found an unknown field"
    );
    assert_eq!(world.condition("Ready").1, "ConfigNotLoaded");
    assert!(world.api.events().contains(&"ReloadRefused".to_owned()));
}

#[tokio::test]
async fn a_key_that_a_server_cannot_use_is_degraded_while_the_rest_is_ready() {
    let world = settled().await;
    world.load();
    let hash = world.mounted_hash(0);
    world.servers.load(
        ip(0),
        super::super::servers::Loaded {
            config: LoadedConfig {
                hash,
                problem: None,
            },
            files: vec![LoadedFile {
                name: "keys".to_owned(),
                problem: Some("auth.jwt.jwksFile: it is broken".to_owned()),
            }],
        },
    );
    world.look().await.unwrap();
    assert_eq!(world.condition("Degraded").1, "ReloadRefused");
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn who_says_nothing_of_its_configuration_is_not_accused() {
    let world = settled().await;
    change(&world, 1000);
    for ordinal in 0..3 {
        world.servers.silence(ip(ordinal));
    }
    world.look().await.unwrap();
    assert_eq!(world.condition("Degraded").0, "False");
    assert_eq!(world.condition("Progressing").0, "False");
}

#[tokio::test]
async fn in_a_rollout_the_configuration_of_old_pods_stays_as_it_is() {
    let world = settled().await;
    let old = world.config_maps();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["image"] = json!({ "repository": "r", "tag": "2" });
        cluster["spec"]["server"]["maxConnections"] = 500.into();
    });
    world.look().await.unwrap();
    let both = world.config_maps();
    assert_eq!(
        both.len(),
        2,
        "another image has a configuration of its own"
    );
    assert_eq!(both.iter().filter(|one| old.contains(one)).count(), 1);
    // Old pods have loaded their own, which is none of the newest revision's business.
    world.control();
    world.load();
    world.look().await.unwrap();
    assert_eq!(world.condition("Degraded").0, "False");
}
