//! Broadcasts that every receiver is to acknowledge.

use std::time::Duration;

use bytes::Bytes;
use chatcluster_harness::Client;
use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::over_each_adapter_and_delivery;
use serde_json::{Value, json};

use crate::{join, three};

/// For what is to end by all answers.
const LONG: Duration = Duration::from_secs(15);
/// For what is to end by its timeout, within which the others answer on a busy machine.
const SHORT: Duration = Duration::from_secs(2);

over_each_adapter_and_delivery!(
    all_clients_of_all_nodes_acknowledge,
    a_silent_client_is_named_beside_the_answers_of_the_others,
    a_broadcast_to_nobody_is_complete_at_once,
    a_node_that_does_not_answer_is_named_beside_the_answers_of_the_others,
    acknowledgements_carry_binary,
);

async fn answer(client: &Client, args: Vec<Value>) {
    let event = client.event("ask").await;
    client.answer(&event, &args).await;
}

async fn all_clients_of_all_nodes_acknowledge(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let asked = nodes[0].main().all().timeout(LONG);
    let (acks, ..) = tokio::join!(
        asked.emit_with_ack("ask", &"?"),
        answer(&clients[0], vec![json!(0)]),
        answer(&clients[1], vec![json!(1), json!("more")]),
        answer(&clients[2], vec![]),
    );
    let acks = acks.unwrap();
    assert!(acks.is_complete());
    let of = |client: &Client| {
        let sid = client.sid();
        let mut found = acks.answers.iter().filter(|(s, _)| s.to_string() == sid);
        let arguments = found.next().expect("an answer of each").1.values();
        assert!(found.next().is_none(), "one answer of each");
        arguments
    };
    assert_eq!(of(&clients[0]), [json!(0)]);
    assert_eq!(of(&clients[1]), [json!(1), json!("more")]);
    assert!(of(&clients[2]).is_empty());
    nodes.stop().await;
}

async fn a_silent_client_is_named_beside_the_answers_of_the_others(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let asked = nodes[0].main().all().timeout(SHORT);
    let (acks, ..) = tokio::join!(
        asked.emit_with_ack("ask", &"?"),
        answer(&clients[0], vec![json!(0)]),
        answer(&clients[2], vec![json!(2)]),
    );
    let acks = acks.unwrap();
    let silent: Vec<_> = acks.silent.iter().map(ToString::to_string).collect();
    assert_eq!(silent, [clients[1].sid()]);
    assert_eq!(acks.answers.len(), 2);
    assert!(acks.missing.is_empty());
    nodes.stop().await;
}

async fn a_broadcast_to_nobody_is_complete_at_once(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    let asked = nodes[0]
        .main()
        .to("nobody")
        .timeout(Duration::from_secs(3600));
    let acks =
        chatcluster_harness::within("no answers are awaited", asked.emit_with_ack("ask", &1));
    let acks = acks.await.unwrap();
    assert!(acks.is_complete() && acks.answers.is_empty());
    assert_eq!(
        crate::counts(&nodes, clients.each_ref(), "ask").await,
        [0, 0, 0]
    );
    nodes.stop().await;
}

async fn a_node_that_does_not_answer_is_named_beside_the_answers_of_the_others(
    cluster: &dyn ClusterUnderTest,
) {
    let (nodes, clients) = three(cluster).await;
    nodes[2].gate.mute();
    let asked = nodes[0].main().all().timeout(SHORT);
    let (acks, ..) = tokio::join!(
        asked.emit_with_ack("ask", &"?"),
        answer(&clients[0], vec![json!(0)]),
        answer(&clients[1], vec![json!(1)]),
    );
    let acks = acks.unwrap();
    assert_eq!(acks.answers.len(), 2);
    assert!(acks.silent.is_empty());
    let missing: Vec<_> = acks.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["n2"]);
    nodes.stop().await;
}

async fn acknowledgements_carry_binary(cluster: &dyn ClusterUnderTest) {
    let (nodes, clients) = three(cluster).await;
    join(&nodes, &clients, "r", &[1]).await;
    let sent = Bytes::from_static(&[1, 2, 255]);
    let asked = nodes[0].main().to("r").timeout(LONG);
    let replies = async {
        let event = clients[1].event("ask").await;
        assert_eq!(event.attachments, std::slice::from_ref(&sent));
        clients[1]
            .answer_binary(&event, Bytes::from_static(&[9, 8]))
            .await;
    };
    let (acks, ()) = tokio::join!(asked.emit_with_ack("ask", &sent), replies);
    let acks = acks.unwrap();
    assert_eq!(acks.answers[0].1.read::<Bytes>().unwrap(), [9, 8][..]);
    nodes.stop().await;
}
