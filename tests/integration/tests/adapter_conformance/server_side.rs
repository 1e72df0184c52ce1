//! Events between the nodes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chatcluster_harness::adapters::ClusterUnderTest;
use chatcluster_harness::{Nodes, over_each_adapter_and_delivery, until};
use chatcluster_integration::recovering;
use chatcluster_socketio::{Arguments, ServerSideAnswers};
use serde_json::json;

over_each_adapter_and_delivery!(
    a_server_side_event_reaches_all_other_nodes_and_no_client,
    a_server_side_event_collects_the_answers_of_all_other_nodes,
    a_node_that_does_not_answer_is_named_and_the_others_count,
);

/// What listeners heard: the node, and what it was told.
type Heard = Arc<Mutex<Vec<(usize, String)>>>;

async fn listening(cluster: &dyn ClusterUnderTest) -> (Nodes, Heard) {
    let heard = Heard::default();
    let nodes = Nodes::start(3, &recovering(), cluster, |io, index| {
        let heard = heard.clone();
        io.ns_with("/", cluster.delivery(), async || {})
            .on_server_side("hello", move |arguments: Arguments| {
                let text = arguments.json().to_owned();
                heard.lock().unwrap().push((index, text));
                std::future::ready(Arguments::of(&(index, "heard")).ok())
            });
    })
    .await;
    (nodes, heard)
}

fn by_node(answers: &ServerSideAnswers) -> Vec<(&str, Vec<serde_json::Value>)> {
    let answers = answers.answers.iter();
    answers
        .map(|(node, a)| (node.as_str(), a.values()))
        .collect()
}

async fn a_server_side_event_reaches_all_other_nodes_and_no_client(cluster: &dyn ClusterUnderTest) {
    let (nodes, heard) = listening(cluster).await;
    let client = nodes[1].connect().await;
    nodes[0]
        .main()
        .server_side_emit("hello", &("a", 1))
        .unwrap();
    until("both others hear it", || heard.lock().unwrap().len() >= 2).await;
    nodes.fence(&[&client]).await;
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    assert_eq!(
        heard,
        [(1, r#""a",1"#.to_owned()), (2, r#""a",1"#.to_owned())]
    );
    assert!(client.events("hello").is_empty());
    nodes.stop().await;
}

async fn a_server_side_event_collects_the_answers_of_all_other_nodes(
    cluster: &dyn ClusterUnderTest,
) {
    let (nodes, _) = listening(cluster).await;
    let main = nodes[1].main();
    let answers = main.server_side_emit_with_ack("hello", &1, Duration::from_secs(15));
    let answers = answers.await.unwrap();
    assert!(answers.missing.is_empty());
    let expected = [
        ("n0", vec![json!(0), json!("heard")]),
        ("n2", vec![json!(2), json!("heard")]),
    ];
    assert_eq!(by_node(&answers), expected);
    nodes.stop().await;
}

async fn a_node_that_does_not_answer_is_named_and_the_others_count(cluster: &dyn ClusterUnderTest) {
    let (nodes, _) = listening(cluster).await;
    nodes[0].gate.mute();
    let main = nodes[1].main();
    let answers = main.server_side_emit_with_ack("hello", &1, Duration::from_secs(2));
    let answers = answers.await.unwrap();
    let missing: Vec<_> = answers.missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["n0"]);
    assert_eq!(by_node(&answers), [("n2", vec![json!(2), json!("heard")])]);
    nodes.stop().await;
}
