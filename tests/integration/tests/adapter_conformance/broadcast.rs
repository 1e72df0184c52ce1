//! Broadcasts: to all, except the sender, to rooms, except rooms, local, volatile, binary.

use bytes::Bytes;
use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::over_each_adapter_and_delivery;
use serde_json::json;

use crate::{counts, join, three};

over_each_adapter_and_delivery!(
    a_broadcast_reaches_all_clients_of_all_nodes,
    a_socket_s_broadcast_spares_the_sender,
    a_room_is_reached_on_all_nodes,
    a_socket_in_several_rooms_gets_one_copy,
    excepted_rooms_are_spared_on_all_nodes,
    a_local_broadcast_stays_on_its_node,
    volatile_and_binary_events_cross_nodes_unchanged,
);

async fn a_broadcast_reaches_all_clients_of_all_nodes(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    nodes[0].main().emit("all", &(1, "two")).unwrap();
    for client in &clients {
        let event = client.event("all").await;
        assert_eq!(event.args, [json!(1), json!("two")]);
    }
    assert_eq!(counts(&nodes, clients.each_ref(), "all").await, [1, 1, 1]);
    nodes.stop().await;
}

async fn a_socket_s_broadcast_spares_the_sender(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let sender = nodes[1].socket(&clients[1].sid());
    sender.broadcast().emit("others", &1).unwrap();
    assert_eq!(
        counts(&nodes, clients.each_ref(), "others").await,
        [1, 0, 1]
    );
    nodes.stop().await;
}

async fn a_room_is_reached_on_all_nodes(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 2]).await;
    nodes[1].main().to("r").emit("room", &1).unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "room").await, [1, 0, 1]);
    let sender = nodes[0].socket(&clients[0].sid());
    sender.to("r").emit("room", &2).unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "room").await, [1, 0, 2]);
    sender.within("r").emit("room", &3).unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "room").await, [2, 0, 3]);
    nodes.stop().await;
}

async fn a_socket_in_several_rooms_gets_one_copy(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1]).await;
    join(&nodes, &clients, "s", &[1, 2]).await;
    let own = clients[1].sid();
    nodes[2]
        .main()
        .to(["r", "s", &own])
        .emit("both", &1)
        .unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "both").await, [1, 1, 1]);
    nodes.stop().await;
}

async fn excepted_rooms_are_spared_on_all_nodes(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1, 2]).await;
    join(&nodes, &clients, "s", &[2]).await;
    let everybody_but = |room: &str| nodes[0].main().except(room);
    everybody_but("s").emit("wide", &1).unwrap();
    everybody_but(&clients[1].sid())
        .to("r")
        .emit("room", &1)
        .unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "wide").await, [1, 1, 0]);
    assert_eq!(counts(&nodes, clients.each_ref(), "room").await, [1, 0, 1]);
    nodes.stop().await;
}

async fn a_local_broadcast_stays_on_its_node(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0, 1]).await;
    nodes[1].main().all().local().emit("local", &1).unwrap();
    nodes[0].main().to("r").local().emit("local", &2).unwrap();
    assert_eq!(counts(&nodes, clients.each_ref(), "local").await, [1, 1, 0]);
    nodes.stop().await;
}

async fn volatile_and_binary_events_cross_nodes_unchanged(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    nodes[0]
        .main()
        .all()
        .volatile()
        .emit("volatile", &"x")
        .unwrap();
    let bytes = Bytes::from_static(&[0, 255, 1]);
    nodes[0].main().emit("binary", &("name", &bytes)).unwrap();
    for client in &clients {
        assert_eq!(client.event("volatile").await.args, [json!("x")]);
        let event = client.event("binary").await;
        assert_eq!(event.args[0], "name");
        assert_eq!(event.attachments, std::slice::from_ref(&bytes));
    }
    nodes.stop().await;
}
