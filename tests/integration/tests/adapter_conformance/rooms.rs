//! What is done to sockets of any node: join, leave, disconnect, fetch.

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::{Client, Nodes, Received, over_each_adapter_and_delivery, until};
use serde_json::json;

use crate::{counts, join, three};

over_each_adapter_and_delivery!(
    all_sockets_join_a_room,
    the_sockets_of_a_room_join_another,
    one_socket_of_another_node_joins_a_room,
    all_sockets_leave_a_room,
    the_sockets_of_a_room_leave_another,
    one_socket_of_another_node_leaves_a_room,
    sockets_of_all_nodes_are_disconnected_from_the_namespace,
    whole_connections_of_all_nodes_are_closed,
    all_sockets_are_fetched,
    the_sockets_of_a_room_are_fetched_with_rooms_and_data,
    fetching_obeys_except_and_local,
    a_node_that_does_not_answer_is_named_when_sockets_are_fetched,
    each_node_knows_about_how_many_sockets_all_have,
);

/// Which clients are in a room, by who gets what is sent there.
async fn members(nodes: &Nodes, clients: &[Client; 3], room: &str) -> [bool; 3] {
    let before = clients.each_ref().map(|c| c.events("probe").len());
    nodes[0].main().to(room).emit("probe", &1).unwrap();
    let after = counts(nodes, clients.each_ref(), "probe").await;
    [0, 1, 2].map(|i| after[i] > before[i])
}

async fn all_sockets_join_a_room(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let done = nodes[0].main().all().sockets_join("r").await;
    assert_eq!((done.sockets, done.missing.len()), (3, 0));
    assert_eq!(members(&nodes, &clients, "r").await, [true; 3]);
    nodes.stop().await;
}

async fn the_sockets_of_a_room_join_another(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 2]).await;
    let done = nodes[1].main().to("r").sockets_join(["s", "t"]).await;
    assert_eq!(done.sockets, 2);
    assert_eq!(members(&nodes, &clients, "s").await, [true, false, true]);
    assert_eq!(members(&nodes, &clients, "t").await, [true, false, true]);
    nodes.stop().await;
}

async fn one_socket_of_another_node_joins_a_room(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let done = nodes[0].main().to(clients[1].sid()).sockets_join("r").await;
    assert_eq!(done.sockets, 1);
    assert_eq!(members(&nodes, &clients, "r").await, [false, true, false]);
    nodes.stop().await;
}

async fn all_sockets_leave_a_room(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1, 2]).await;
    nodes[0].main().all().sockets_leave("r").await;
    assert_eq!(members(&nodes, &clients, "r").await, [false; 3]);
    nodes.stop().await;
}

async fn the_sockets_of_a_room_leave_another(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1, 2]).await;
    join(&nodes, &clients, "s", &[1, 2]).await;
    nodes[0].main().to("s").sockets_leave("r").await;
    assert_eq!(members(&nodes, &clients, "r").await, [true, false, false]);
    assert_eq!(members(&nodes, &clients, "s").await, [false, true, true]);
    nodes.stop().await;
}

async fn one_socket_of_another_node_leaves_a_room(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1, 2]).await;
    nodes[0]
        .main()
        .to(clients[2].sid())
        .sockets_leave("r")
        .await;
    assert_eq!(members(&nodes, &clients, "r").await, [true, true, false]);
    nodes.stop().await;
}

fn was_disconnected(client: &Client) -> bool {
    let received = client.received();
    let is_it = |r: &Received| matches!(r, Received::Disconnected(name) if name == "/");
    received.iter().any(is_it)
}

async fn sockets_of_all_nodes_are_disconnected_from_the_namespace(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[1, 2]).await;
    let done = nodes[0].main().to("r").disconnect_sockets(false).await;
    assert_eq!(done.sockets, 2);
    until("both are told", || {
        was_disconnected(&clients[1]) && was_disconnected(&clients[2])
    })
    .await;
    assert!(!was_disconnected(&clients[0]));
    // The connection itself goes on: it can join again, as somebody new.
    let before = clients[1].carried();
    clients[1]
        .join("/", &json!({"pid": before.pid}))
        .await
        .unwrap();
    assert_ne!(clients[1].sid(), before.sid);
    nodes.stop().await;
}

async fn whole_connections_of_all_nodes_are_closed(cluster: &dyn ClusterUnderTest) {
    let nodes = Nodes::start(
        3,
        &chatcluster_integration::recovering(),
        cluster,
        |io, _| {
            io.ns_with("/", cluster.delivery(), async || {});
            io.ns_with("/other", cluster.delivery(), async || {});
        },
    )
    .await;
    let clients = [nodes[0].connect().await, nodes[1].connect().await];
    for client in &clients {
        client.join("/other", &json!({})).await.unwrap();
    }
    let others = nodes[2].main().except("nobody");
    assert_eq!(others.disconnect_sockets(true).await.sockets, 2);
    for client in &clients {
        client.closed().await;
        assert!(
            was_disconnected(client),
            "told before the connection closed"
        );
        let told: Vec<_> = client
            .received()
            .into_iter()
            .filter(|r| matches!(r, Received::Disconnected(_)))
            .collect();
        assert_eq!(told.len(), 2, "in every namespace: {told:?}");
    }
    nodes.stop().await;
}

fn sids<const N: usize>(clients: [&Client; N]) -> [String; N] {
    let mut sids = clients.map(Client::sid);
    sids.sort();
    sids
}

async fn fetched(broadcast: chatcluster_socketio::Broadcast) -> Vec<String> {
    let found = broadcast.fetch_sockets().await;
    assert!(found.missing.is_empty());
    let mut ids: Vec<_> = found.sockets.into_iter().map(|s| s.id).collect();
    ids.sort();
    ids
}

async fn all_sockets_are_fetched(cluster: &dyn ClusterUnderTest) {
    let (nodes, [a, b, c]) = three(cluster).await;
    assert_eq!(fetched(nodes[1].main().all()).await, sids([&a, &b, &c]));
    nodes.stop().await;
}

async fn the_sockets_of_a_room_are_fetched_with_rooms_and_data(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[2]).await;
    join(&nodes, &clients, "s", &[2]).await;
    let socket = nodes[2].socket(&clients[2].sid());
    socket.set_data(&json!({"name": "Zoë"})).await.unwrap();
    let found = nodes[0].main().to(["r", "s"]).fetch_sockets().await;
    assert_eq!(found.sockets.len(), 1);
    let remote = &found.sockets[0];
    assert_eq!(
        (&remote.id, remote.node.as_str()),
        (&clients[2].sid(), "n2")
    );
    assert_eq!(remote.data, json!({"name": "Zoë"}));
    let mut rooms = remote.rooms.clone();
    rooms.sort();
    let mut expected = [clients[2].sid(), "r".to_owned(), "s".to_owned()];
    expected.sort();
    assert_eq!(rooms, expected);
    nodes.stop().await;
}

async fn fetching_obeys_except_and_local(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1]).await;
    let [a, b, c] = clients.each_ref();
    let main = nodes[1].main();
    assert_eq!(fetched(main.except("r")).await, sids([c]));
    assert_eq!(fetched(main.all().local()).await, sids([b]));
    assert_eq!(fetched(main.to("r").except(b.sid())).await, sids([a]));
    nodes.stop().await;
}

async fn a_node_that_does_not_answer_is_named_when_sockets_are_fetched(
    cluster: &dyn ClusterUnderTest,
) {
    let (nodes, [a, b, _]) = three(cluster).await;
    nodes[2].gate.mute();
    let all = nodes[0].main().all();
    let found = all
        .timeout(std::time::Duration::from_secs(2))
        .fetch_sockets()
        .await;
    let mut ids: Vec<_> = found.sockets.into_iter().map(|s| s.id).collect();
    ids.sort();
    assert_eq!(ids, sids([&a, &b]));
    let missing: Vec<_> = found.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["n2"]);
    nodes.stop().await;
}

async fn each_node_knows_about_how_many_sockets_all_have(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let main = nodes[0].main();
    until("all are counted", || main.approximate_len() == 3).await;
    let [_, b, c] = clients;
    drop((b, c));
    until("only one is left", || main.approximate_len() == 1).await;
    nodes.stop().await;
}
