//! Sessions that continue on any node.

use std::sync::Arc;

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::{Client, Nodes, over_each_adapter};
use chatcluster_integration::recovering;
use chatcluster_socketio::{Connecting, NotRecovered, SocketRef};
use serde_json::{Value, json};

use crate::{join, three};

over_each_adapter!(
    a_client_is_recovered_on_another_node_with_what_it_missed,
    a_client_is_recovered_before_its_cut_is_noticed_and_the_old_connection_closes,
    a_client_that_never_received_an_event_is_recovered,
    rooms_and_data_come_back,
    another_identity_is_refused_the_session_and_costs_it_nothing,
);

fn first_args(client: &Client, name: &str) -> Vec<Value> {
    client
        .events(name)
        .into_iter()
        .map(|e| e.args[0].clone())
        .collect()
}

async fn a_client_is_recovered_on_another_node_with_what_it_missed(cluster: &dyn ClusterUnderTest) {
    let (nodes, [client, ..]) = three(cluster).await;
    nodes[0].main().emit("m", &1).unwrap();
    client.event("m").await;
    let carried = client.cut().await;
    nodes[0].misses(&carried.sid).await;
    for (node, number) in [(2, 2), (1, 3)] {
        let event = chatcluster_socketio::Event::new("m", &number).unwrap();
        nodes[node]
            .main()
            .all()
            .append(event, None)
            .decided()
            .await
            .unwrap();
    }
    let client = nodes[1].resume(&carried).await;
    assert!(client.has_recovered(&carried));
    nodes[2].main().emit("m", &4).unwrap();
    nodes.fence(&[&client]).await;
    assert_eq!(first_args(&client, "m"), [json!(2), json!(3), json!(4)]);
    nodes.stop().await;
}

async fn a_client_is_recovered_before_its_cut_is_noticed_and_the_old_connection_closes(
    cluster: &dyn ClusterUnderTest,
) {
    let (nodes, [client, ..]) = three(cluster).await;
    nodes[0].main().emit("m", &1).unwrap();
    client.event("m").await;
    let (carried, _silent) = client.fall_silent().await;
    nodes[1].main().emit("m", &2).unwrap();
    let client = nodes[2].resume(&carried).await;
    assert!(client.has_recovered(&carried));
    nodes[0].misses(&carried.sid).await;
    assert!(nodes[2].socket(&carried.sid).took_over());
    nodes.fence(&[&client]).await;
    assert_eq!(first_args(&client, "m"), [json!(2)]);
    nodes.stop().await;
}

async fn a_client_that_never_received_an_event_is_recovered(cluster: &dyn ClusterUnderTest) {
    let (nodes, [client, ..]) = three(cluster).await;
    let carried = client.cut().await;
    assert_eq!(carried.offset, None);
    nodes[0].misses(&carried.sid).await;
    nodes[1].main().emit("m", &1).unwrap();
    let client = nodes[2].resume(&carried).await;
    assert!(client.has_recovered(&carried));
    nodes.fence(&[&client]).await;
    assert_eq!(first_args(&client, "m"), [json!(1)]);
    nodes.stop().await;
}

async fn rooms_and_data_come_back(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[0]).await;
    let [client, ..] = clients;
    let socket = nodes[0].socket(&client.sid());
    socket.set_data(&json!({"name": "Zoë"})).await.unwrap();
    let carried = client.cut().await;
    nodes[0].misses(&carried.sid).await;
    nodes[1].main().to("r").emit("m", &1).unwrap();
    let client = nodes[2].resume(&carried).await;
    let socket = nodes[2].socket(&carried.sid);
    assert!(socket.recovered());
    assert_eq!(
        socket.rooms().iter().map(|r| &**r).collect::<Vec<_>>(),
        ["r"]
    );
    assert_eq!(socket.data::<Value>(), Some(json!({"name": "Zoë"})));
    nodes[1].main().to("r").emit("m", &2).unwrap();
    nodes.fence(&[&client]).await;
    assert_eq!(first_args(&client, "m"), [json!(1), json!(2)]);
    nodes.stop().await;
}

async fn another_identity_is_refused_the_session_and_costs_it_nothing(
    cluster: &dyn ClusterUnderTest,
) {
    let nodes = Nodes::start(3, &recovering(), cluster, |io, _| {
        io.ns("/", async |_: SocketRef| {})
            .with(|connecting: Arc<Connecting>| async move {
                let auth: Value = connecting.auth().unwrap();
                connecting.set_identity(auth["name"].as_str().unwrap());
                Ok(())
            });
    })
    .await;
    let named = |node: usize, name: &str| Client::builder(nodes[node].address).auth("name", name);
    let ada = named(0, "ada").connect().await;
    let carried = ada.cut().await;
    nodes[0].misses(&carried.sid).await;
    nodes[0]
        .main()
        .to(&*carried.sid)
        .emit("m", &"for ada")
        .unwrap();

    let thief = named(1, "eve").resume(&carried).connect().await;
    assert!(!thief.has_recovered(&carried) && thief.sid() != carried.sid);
    let refused = &nodes[1].io.counters().not_recovered[NotRecovered::OtherIdentity.index()];
    assert_eq!(refused.get(), 1);

    let ada = named(2, "ada").resume(&carried).connect().await;
    assert!(ada.has_recovered(&carried));
    nodes.fence(&[&ada, &thief]).await;
    assert_eq!(first_args(&ada, "m"), [json!("for ada")]);
    assert!(thief.events("m").is_empty());
    nodes.stop().await;
}
