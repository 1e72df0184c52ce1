//! The end of a ChatCluster, with its clients let go first or not.

use super::world::ip;
use super::*;

const HELD: &str = "chatcluster.dev/drain";

/// Three pods with ten clients each, and a ChatCluster that was asked to let them go before it ends.
async fn draining() -> World {
    let world = World::minimal();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["deletionPolicy"] = "Drain".into();
    });
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world
}

/// As an API server does when somebody deletes what has a finalizer.
fn delete(world: &World, seconds_ago: i64) {
    let when = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).unwrap();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["deletionTimestamp"] = when.to_string().into();
    });
}

fn is_gone(world: &World) -> bool {
    world.api.get("chatclusters/chat").is_none()
}

fn told(world: &World) -> Vec<bool> {
    let told = |ordinal| world.servers.get(ip(ordinal)).unwrap().draining;
    (0..3).map(told).collect()
}

#[tokio::test]
async fn a_finalizer_is_there_as_long_as_it_is_asked_for_beside_those_of_others() {
    let world = World::minimal();
    world.look().await.unwrap();
    let finalizers = |world: &World| {
        let cluster = world.api.get("chatclusters/chat").unwrap();
        cluster["metadata"]["finalizers"].clone()
    };
    assert_eq!(finalizers(&world), json!(null));
    let choose = |policy: &str| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"]["deletionPolicy"] = policy.into();
        });
    };
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["finalizers"] = json!(["example.com/theirs"]);
    });
    choose("Drain");
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote()[0], "MERGE chatclusters/chat");
    assert_eq!(finalizers(&world), json!(["example.com/theirs", HELD]));
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    choose("Immediate");
    world.look().await.unwrap();
    assert_eq!(finalizers(&world), json!(["example.com/theirs"]));
}

#[tokio::test]
async fn all_servers_let_their_clients_go_before_anything_is_deleted() {
    let world = draining().await;
    delete(&world, 0);
    world.look().await.unwrap();
    assert_eq!(told(&world), [true; 3], "all at once");
    assert_eq!(world.wrote(), ["APPLY chatclusters/chat/status"]);
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "Deleting".to_owned())
    );
    assert_eq!(
        world.condition("Progressing"),
        ("True".to_owned(), "Deleting".to_owned())
    );
    assert_eq!(world.condition("Draining").0, "True");
    let said = world.message("Ready");
    assert!(
        said.contains("chat-0 (10 left), chat-1 (10 left)"),
        "{said}"
    );
    assert!(said.contains("at the latest"), "{said}");
    assert!(world.api.events().contains(&"PodDraining".to_owned()));
    world.look().await.unwrap();
    assert_eq!(
        world.wrote(),
        Vec::<String>::new(),
        "nothing new, nothing written"
    );
    assert!(!is_gone(&world));

    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), ["MERGE chatclusters/chat"]);
    assert!(is_gone(&world));
    assert!(world.api.events().contains(&"Drained".to_owned()));
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_it_until_the_deadline_and_no_longer() {
    let world = draining().await;
    world.servers.silence(ip(1));
    delete(&world, 0);
    world.look().await.unwrap();
    world.servers.finish();
    world.look().await.unwrap();
    assert!(!is_gone(&world));
    assert!(world.message("Ready").contains("chat-1 (does not answer)"));
    // 60 seconds, and what a pod gets beyond them.
    delete(&world, 89);
    world.look().await.unwrap();
    assert!(!is_gone(&world));
    delete(&world, 91);
    world.look().await.unwrap();
    assert!(is_gone(&world));
    assert!(
        world
            .api
            .events()
            .contains(&"DrainDeadlineExceeded".to_owned())
    );
}

#[tokio::test]
async fn what_cannot_be_read_does_not_hold_it_beyond_the_deadline() {
    let world = draining().await;
    delete(&world, 0);
    world.api.fail("GET", "/pods", 500);
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("ReadFailed", Retry::Backoff)
    );
    assert_eq!(world.condition("Degraded").1, "ReadFailed");
    delete(&world, 91);
    world.look().await.unwrap();
    assert!(is_gone(&world));
}

#[tokio::test]
async fn nothing_is_waited_for_where_nobody_is_to_be_waited_for() {
    let change = |world: &World, field: &str, value: &str| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"][field] = value.into();
        });
    };
    let world = draining().await;
    delete(&world, 0);
    change(&world, "deletionPolicy", "Immediate");
    world.look().await.unwrap();
    assert!(is_gone(&world), "the policy was changed");

    let world = draining().await;
    delete(&world, 0);
    change(&world, "reconciliation", "Paused");
    world.look().await.unwrap();
    assert!(is_gone(&world), "paused");

    let world = draining().await;
    delete(&world, 0);
    let terminating =
        json!({ "metadata": { "name": "team", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    world.api.put("namespaces", terminating);
    world.look().await.unwrap();
    assert!(is_gone(&world), "the namespace goes");
    assert_eq!(told(&world), [false; 3]);
    assert!(world.api.events().contains(&"DrainSkipped".to_owned()));

    let world = draining().await;
    for ordinal in 0..3 {
        world.api.remove(&format!("pods/chat-{ordinal}"));
    }
    delete(&world, 0);
    world.look().await.unwrap();
    assert!(is_gone(&world), "no pod is left");
}

#[tokio::test]
async fn who_may_not_see_the_namespace_drains() {
    let world = draining().await;
    delete(&world, 0);
    world.api.fail("GET", "/namespaces/team", 403);
    world.look().await.unwrap();
    assert_eq!(told(&world), [true; 3]);
}

#[tokio::test]
async fn a_finalizer_that_somebody_else_changes_at_the_same_time_is_tried_again() {
    let world = draining().await;
    world.servers.finish();
    delete(&world, 91);
    world.api.fail("PATCH", "/chatclusters/chat", 409);
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("FinalizerFailed", Retry::Backoff)
    );
    world.api.heal();
    world.look().await.unwrap();
    assert!(is_gone(&world));
}
