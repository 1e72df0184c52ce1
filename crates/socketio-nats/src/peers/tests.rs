use super::*;
use crate::testing::{connect, join, names, ports};
use async_nats::ConnectOptions;
use bytes::Bytes;
use chatcluster_harness::nats::Options;
use chatcluster_harness::{NatsServer, Proxy, until, within};

async fn server() -> NatsServer {
    NatsServer::start(Options::default()).await
}

/// A node with a connection of its own.
async fn node(server: &NatsServer, name: &str) -> (Arc<Peers>, Arc<Counters>) {
    join(&connect(server.address()).await, name).await
}

fn ids(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| NodeId::new(name)).collect()
}

#[tokio::test]
async fn a_new_node_and_the_others_know_each_other_before_the_next_heartbeat() {
    let server = server().await;
    let (a, _) = node(&server, "a").await;
    assert_eq!(a.count(), 1);
    let (b, _) = node(&server, "b").await;
    let start = Instant::now();
    let (c, _) = node(&server, "c").await;
    let knows = |peers: &Peers, others: &[&str]| peers.others() == ids(others);
    until("all know all", || {
        knows(&a, &["b", "c"]) && knows(&b, &["a", "c"]) && knows(&c, &["a", "b"])
    })
    .await;
    assert!(start.elapsed() < HEARTBEAT, "{:?}", start.elapsed());
    assert_eq!(a.count(), 3);
}

#[tokio::test]
async fn a_farewell_is_heard_at_once_and_is_no_death() {
    let server = server().await;
    let (a, counters) = node(&server, "a").await;
    let (b, _) = node(&server, "b").await;
    until("a knows b", || a.is_there(&NodeId::new("b"))).await;
    let mut changes = a.changes();
    let start = Instant::now();
    within("a farewell", b.close()).await;
    within("a change", changes.changed()).await.unwrap();
    assert!(start.elapsed() < HEARTBEAT, "{:?}", start.elapsed());
    assert_eq!(a.others(), []);
    assert_eq!(counters.nodes_dead.get(), 0);
}

#[tokio::test]
async fn the_silent_node_is_found_dead_once_by_each_of_the_others() {
    let server = server().await;
    let (a, counters) = node(&server, "a").await;
    let (b, of_b) = node(&server, "b").await;
    let (c, _) = node(&server, "c").await;
    until("all are known", || a.count() == 3 && b.count() == 3).await;
    assert!(a.is_first() && !b.is_first());
    let start = Instant::now();
    // Ends its tasks without a word.
    drop(c);
    until("both find it dead", || {
        counters.nodes_dead.get() == 1 && of_b.nodes_dead.get() == 1
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(a.others(), ids(&["b"]));
    // Two more looks at who is silent find nothing new.
    let mut changes = a.changes();
    a.shared.bury();
    a.shared.bury();
    assert!(!changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(counters.nodes_dead.get(), 1);
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_dead_to_the_others_and_finds_nobody_dead_itself() {
    let server = server().await;
    let proxy = Proxy::before(server.address());
    let (a, of_a) = node(&server, "a").await;
    let (b, of_b) = join(&connect(proxy.address()).await, "b").await;
    until("they know each other", || a.count() == 2 && b.count() == 2).await;
    proxy.cut().await;
    until("a finds b dead", || of_a.nodes_dead.get() == 1).await;
    assert_eq!(a.others(), []);
    proxy.heal().await;
    until("a knows b again", || a.count() == 2).await;
    // It was deaf for longer than it takes to find a node dead, and has heard itself again since.
    assert_eq!(of_b.nodes_dead.get(), 0);
    assert_eq!(b.others(), ids(&["a"]));
}

#[tokio::test]
async fn heartbeats_of_another_release_and_of_a_namesake_are_counted_and_not_believed() {
    let server = server().await;
    let (a, counters) = node(&server, "a").await;
    let client = connect(server.address()).await;
    let say = async |note: Note, version: u8| {
        let mut bytes = codec::encode(&note).unwrap().to_vec();
        bytes[0] = version;
        let said = client.publish(names().node(), bytes.into());
        within("a publish", said).await.unwrap();
    };
    let heartbeat = |name: &str| Note::Heartbeat {
        node: NodeId::new(name),
        incarnation: 1,
        has_log: true,
        members: 5,
        relay: None,
    };
    say(heartbeat("newer"), codec::NEXT + 1).await;
    let large = client.publish(names().node(), Bytes::from(vec![codec::VERSION; 2000]));
    within("a publish", large).await.unwrap();
    say(heartbeat("a"), codec::VERSION).await;
    say(heartbeat("z"), codec::VERSION).await;
    until("the last is known", || a.count() == 2).await;
    assert_eq!(a.others(), ids(&["z"]));
    assert_eq!(a.members(), 5);
    assert_eq!(counters.messages_unreadable.get(), 2);
    assert_eq!(counters.heartbeats_refused.get(), 1);
}

#[tokio::test]
async fn the_others_know_who_can_follow_the_log() {
    let server = server().await;
    let (a, _) = node(&server, "a").await;
    let (b, _) = node(&server, "b").await;
    until("a knows b", || a.count() == 2).await;
    assert_eq!(a.others_with_log(), []);
    b.set_has_log(true);
    until("b can", || a.others_with_log() == ids(&["b"])).await;
    b.set_has_log(false);
    until("b cannot", || a.others_with_log().is_empty()).await;
    assert_eq!(a.count(), 2);
}

#[tokio::test]
async fn a_node_that_does_not_hear_itself_cannot_join() {
    let server = server().await;
    let options = ConnectOptions::new().no_echo();
    let client = within("a connection", options.connect(server.url()));
    let counters = Arc::new(Counters::default());
    let joined = Peers::join(
        ports(&client.await.unwrap()).wire,
        names(),
        NodeId::new("a"),
        counters,
    );
    let joined = within("the end of the try", joined).await;
    assert!(matches!(joined, Err(JoinError::Unheard)));
}

#[tokio::test]
async fn the_others_know_where_a_node_takes_requests_until_it_says_farewell() {
    let server = server().await;
    let (a, _) = node(&server, "a").await;
    let (b, _) = node(&server, "b").await;
    let place = RelayPlace {
        tag: "tag".to_owned(),
        address: "10.0.0.7:3001".parse().unwrap(),
    };
    b.advertise(place.clone());
    until("b is found", || a.by_tag("tag") == Some(place.address)).await;
    // A node that comes later is told as well; nobody finds itself.
    let (c, _) = node(&server, "c").await;
    until("b is found", || c.by_tag("tag") == Some(place.address)).await;
    assert_eq!(b.by_tag("tag"), None);
    within("a farewell", b.close()).await;
    until("b is gone", || a.by_tag("tag").is_none()).await;
}

#[test]
fn a_heartbeat_without_a_relay_is_read_and_written() {
    let (node, incarnation) = (NodeId::new("a"), 7);
    let heartbeat = |relay| Note::Heartbeat {
        node: node.clone(),
        incarnation,
        has_log: true,
        members: 5,
        relay,
    };
    // Byte for byte: what is not there is left out.
    let old = b"\x01\x81\xa9Heartbeat\x94\xa1a\x07\xc3\x05";
    assert_eq!(codec::decode::<Note>(old).unwrap(), heartbeat(None));
    assert_eq!(*codec::encode(&heartbeat(None)).unwrap(), *old);
    let place = RelayPlace {
        tag: "AAAAAAAA".to_owned(),
        address: "[2001:db8::1]:3001".parse().unwrap(),
    };
    let bytes = codec::encode(&heartbeat(Some(place.clone()))).unwrap();
    assert_eq!(
        codec::decode::<Note>(&bytes).unwrap(),
        heartbeat(Some(place))
    );
}
