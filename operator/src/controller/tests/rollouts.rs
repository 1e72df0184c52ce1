//! Rollouts and scale-downs, carried out: the planner decides, a scripted StatefulSet controller and scripted servers answer.

use super::world::ip;
use super::*;

/// A cluster of three pods at rest, each with ten clients.
async fn at_rest() -> World {
    let world = World::minimal();
    world.look().await.unwrap();
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world
}

fn ask_for(world: &World, image: &str) {
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["image"] =
            json!({ "repository": "registry.example.com/chat", "tag": image });
    });
}

#[tokio::test]
async fn a_new_image_takes_the_straight_course() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    assert_eq!(
        world.shape(),
        [3, 0, 3],
        "the template alone, and nothing restarts"
    );
    assert_eq!(world.rollout().as_deref(), Some("TemplateChanged"));
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [4, 0, 3], "one more");
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.accepting(),
        [(0, false), (1, false), (2, false), (3, true)]
    );
    for (index, ordinal) in [(2, 2), (1, 1)] {
        assert!(
            world.servers.get(ip(ordinal)).unwrap().draining,
            "{ordinal}"
        );
        assert_eq!(world.rollout().as_deref(), Some("PodDraining"));
        assert!(
            world
                .message("Draining")
                .ends_with(&format!("chat-{ordinal} (10 left)"))
        );
        world.look().await.unwrap();
        assert_eq!(world.shape()[2], index + 1, "not before it is drained");
        world.servers.finish();
        world.look().await.unwrap();
        assert_eq!(world.shape(), [4, 0, index]);
        world.control();
        world.look().await.unwrap();
    }
    assert!(world.servers.get(ip(0)).unwrap().draining);
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 1, 0], "the lowest leaves");
}

#[tokio::test]
async fn a_rollout_ends_at_rest_and_each_of_its_steps_was_told() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    world.finish().await;
    assert_eq!(
        world.shape(),
        [3, 1, 3],
        "at rest nothing is replaced by itself"
    );
    assert_eq!(world.condition("Ready").0, "True");
    assert_eq!(world.accepting(), [(1, true), (2, true), (3, true)]);
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    for told in [
        "TemplateChanged",
        "SurgePodAdded",
        "PodDraining",
        "PodReplaced",
        "PodRemoved",
        "Completing",
    ] {
        assert!(
            world.api.events().contains(&told.to_owned()),
            "{told}: {:?}",
            world.api.events()
        );
    }
}

#[tokio::test]
async fn template_and_shape_are_one_write() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    let writes = world.api.writes();
    let of_set: Vec<_> = writes
        .iter()
        .filter(|write| write.what == "APPLY statefulsets/chat")
        .collect();
    assert_eq!(of_set.len(), 1);
    let spec = &of_set[0].body["spec"];
    assert_eq!(
        spec["template"]["spec"]["containers"][0]["image"],
        "registry.example.com/chat:2"
    );
    assert_eq!(
        (
            &spec["replicas"],
            &spec["ordinals"]["start"],
            &spec["updateStrategy"]["rollingUpdate"]["partition"]
        ),
        (&json!(3), &json!(0), &json!(3))
    );
}

#[tokio::test]
async fn a_scale_down_drains_from_the_top_one_pod_for_each_write() {
    let world = at_rest().await;
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["replicas"] = 1.into()
    });
    world.look().await.unwrap();
    assert_eq!(world.accepting(), [(0, true), (1, false), (2, false)]);
    assert_eq!(world.shape(), [3, 0, 3]);
    let draining = |ordinal| world.servers.get(ip(ordinal)).unwrap().draining;
    assert_eq!(
        (draining(0), draining(1), draining(2)),
        (false, false, true)
    );
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [2, 0, 2]);
    world.control();
    world.look().await.unwrap();
    assert_eq!((draining(0), draining(1)), (false, true));
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [1, 0, 1]);
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn suspended_all_are_told_at_once_and_the_return_starts_all() {
    let world = at_rest().await;
    let state = |state: &str| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"]["state"] = state.into()
        })
    };
    state("Suspended");
    world.look().await.unwrap();
    assert!((0..3).all(|ordinal| world.servers.get(ip(ordinal)).unwrap().draining));
    assert_eq!(world.shape(), [3, 0, 3]);
    world.servers.finish();
    for left in [2, 1, 0] {
        world.look().await.unwrap();
        assert_eq!(world.shape(), [left, 0, left]);
        world.control();
    }
    world.look().await.unwrap();
    // NATS ends after the last server.
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "Suspended".to_owned())
    );
    state("Running");
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn a_server_that_cannot_be_told_holds_the_rollout_and_is_named() {
    let world = at_rest().await;
    ask_for(&world, "2");
    for _ in 0..2 {
        world.look().await.unwrap();
        world.control();
    }
    world.servers.silence(ip(2));
    world.look().await.unwrap();
    assert_eq!(world.rollout().as_deref(), Some("PodUnreachable"));
    let said = world.message("Progressing");
    assert!(
        said.starts_with("pod chat-2 cannot be told to let its clients go: no answer from"),
        "{said}"
    );
    assert_eq!(world.shape(), [4, 0, 3]);
}

#[tokio::test]
async fn a_pod_that_does_not_end_on_a_lost_node_is_forgotten() {
    let world = at_rest().await;
    let node = |ready: &str| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
    world.api.put("nodes", node("True"));
    world.api.edit("pods/chat-1", |pod| {
        pod["spec"] = json!({ "nodeName": "n1", "containers": [] });
        pod["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    });
    world.look().await.unwrap();
    assert!(
        world.api.get("pods/chat-1").is_some(),
        "its kubelet is there"
    );
    world.api.put("nodes", node("Unknown"));
    world.wrote();
    world.look().await.unwrap();
    assert!(world.api.get("pods/chat-1").is_none());
    assert_eq!(world.rollout().as_deref(), Some("NodeLost"));
}

#[tokio::test]
async fn what_others_do_to_the_shape_is_put_right() {
    let world = at_rest().await;
    world.api.edit("statefulsets/chat", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into()
    });
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
    world.api.edit("statefulsets/chat", |set| {
        set["spec"]["replicas"] = 2.into()
    });
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
}
