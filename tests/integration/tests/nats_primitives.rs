//! What a cluster on NATS stands on: each promise of the server, and of the client library, that the rest builds upon.
//!
//! The server is real, and so is what goes wrong with it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{self, Operation};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{Context, ContextBuilder, Error, ErrorCode};
use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use chatcluster_harness::nats::Options;
use chatcluster_harness::{DEADLINE, NatsCluster, NatsServer, Proxy, within};
use futures_util::StreamExt as _;

/// How long a publish waits for an acknowledgement that does not come.
const IN_VAIN: Duration = Duration::from_millis(300);

/// Connects, and again soon when the connection ends.
async fn connect(servers: impl async_nats::ToServerAddrs) -> Client {
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
    within("a connection to NATS", options.connect(servers))
        .await
        .unwrap()
}

/// JetStream for publishes that are to be acknowledged, however busy the machine is.
fn jetstream(client: &Client) -> Context {
    let builder = ContextBuilder::new().timeout(DEADLINE);
    builder.build(client.clone())
}

/// A publish while the server cannot answer.
async fn publish_in_vain(client: &Client, message: PublishMessage) {
    let builder = ContextBuilder::new().timeout(IN_VAIN);
    let outcome = publish(&builder.build(client.clone()), message).await;
    assert_eq!(outcome.unwrap_err().kind(), PublishErrorKind::TimedOut);
}

/// The stream of most tests: files, subjects `log.>`.
fn log() -> Config {
    Config {
        name: "LOG".to_owned(),
        subjects: vec!["log.>".to_owned()],
        storage: StorageType::File,
        ..Config::default()
    }
}

async fn create(jetstream: &Context, config: Config) -> Stream {
    within("a stream", jetstream.create_stream(config))
        .await
        .unwrap()
}

/// Publishes once and waits for the acknowledgement.
async fn publish(jetstream: &Context, message: PublishMessage) -> Result<PublishAck, PublishError> {
    let sent = within("a publish", jetstream.send_publish("log.room", message));
    within("an acknowledgement", sent.await?.into_future()).await
}

/// Publishes until it is acknowledged, with one id for all attempts: what an earlier one stored is stored once.
async fn publish_persistently(client: &Client, id: &str) -> PublishAck {
    let jetstream = ContextBuilder::new().timeout(IN_VAIN).build(client.clone());
    let attempt = async || {
        let message = PublishMessage::build().message_id(id);
        publish(&jetstream, message.payload(id.to_owned().into())).await
    };
    within("a publish that is acknowledged", async {
        loop {
            match attempt().await {
                Ok(ack) => return ack,
                // Without a leader the server says so at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// What a stream holds at these positions.
async fn payloads<const N: usize>(stream: &Stream, positions: [u64; N]) -> [String; N] {
    let mut payloads = positions.map(|_| String::new());
    for (position, payload) in positions.into_iter().zip(&mut payloads) {
        let message = within("a stored message", stream.get_raw_message(position)).await;
        *payload = String::from_utf8(message.unwrap().payload.to_vec()).unwrap();
    }
    payloads
}

#[tokio::test]
async fn a_stream_hands_out_positions_from_its_first_sequence_on() {
    let first = 1_795_000_000_000_000;
    let server = NatsServer::start(Options::default()).await;
    let jetstream = jetstream(&connect(server.url()).await);
    let config = Config {
        first_sequence: Some(first),
        ..log()
    };
    create(&jetstream, config).await;
    for expected in first..first + 3 {
        let ack = publish(&jetstream, PublishMessage::build()).await.unwrap();
        assert_eq!(ack.sequence, expected);
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut server = NatsServer::start(Options::default()).await;
    let address = server.address();
    let client = connect(server.url()).await;
    let jetstream = jetstream(&client);
    let stream = create(&jetstream, log()).await;
    let message = PublishMessage::build().payload("kept".into());
    let kept = publish(&jetstream, message).await.unwrap();

    server.kill();
    publish_in_vain(&client, PublishMessage::build()).await;
    server.restart().await;
    assert_eq!(server.address(), address);

    let ack = publish_persistently(&client, "later").await;
    let stored = payloads(&stream, [kept.sequence, ack.sequence]).await;
    assert_eq!(stored, ["kept", "later"]);
}

#[tokio::test]
async fn a_stalled_connection_times_out_a_publish_and_works_again_when_it_is_healed() {
    let server = NatsServer::start(Options::default()).await;
    let proxy = Proxy::before(server.address());
    let client = connect(format!("nats://{}", proxy.address())).await;
    let jetstream = jetstream(&client);
    create(&jetstream, log()).await;

    proxy.stall().await;
    publish_in_vain(&client, PublishMessage::build()).await;
    proxy.heal().await;
    // The first was held, not lost.
    let ack = publish(&jetstream, PublishMessage::build()).await.unwrap();
    assert_eq!(ack.sequence, 2);
}

#[tokio::test]
async fn a_message_whose_acknowledgement_was_lost_is_stored_once() {
    let server = NatsServer::start(Options::default()).await;
    let proxy = Proxy::before(server.address());
    let client = connect(format!("nats://{}", proxy.address())).await;
    let jetstream = jetstream(&client);
    let mut stream = create(&jetstream, log()).await;

    proxy.stall_answers().await;
    let message = || PublishMessage::build().message_id("one");
    publish_in_vain(&client, message()).await;
    proxy.cut().await;
    proxy.heal().await;
    let ack = publish_persistently(&client, "one").await;
    assert!(ack.duplicate);
    assert_eq!(ack.sequence, 1);
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn a_connection_that_was_cut_comes_back_with_its_subscriptions() {
    let server = NatsServer::start(Options::default()).await;
    let proxy = Proxy::before(server.address());
    let client = connect(format!("nats://{}", proxy.address())).await;
    assert!(client.server_info().connect_urls.is_empty(), "a way around");
    let mut heard = client.subscribe("core").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(connections(&server).await, 1);

    proxy.cut().await;
    within("the server misses the connection", async {
        while connections(&server).await > 0 {}
    })
    .await;
    proxy.heal().await;
    // A core message is for who is there: those sent before the subscription is back are lost.
    let message = within("a message", async {
        loop {
            client.publish("core", "hello".into()).await.unwrap();
            if let Ok(message) = tokio::time::timeout(IN_VAIN, heard.next()).await {
                return message.unwrap();
            }
        }
    })
    .await;
    assert_eq!(message.payload, "hello");
}

async fn connections(server: &NatsServer) -> u64 {
    let connz = server.monitor("/connz").await;
    connz["num_connections"].as_u64().unwrap()
}

/// What a session needs: it lives without a time limit while its client is connected, gets one when the client is gone,
/// and loses it when the client comes back.
#[tokio::test]
async fn a_key_expires_after_the_ttl_of_its_last_revision() {
    let server = NatsServer::start(Options::default()).await;
    let jetstream = jetstream(&connect(server.url()).await);
    let config = kv::Config {
        bucket: "sessions".to_owned(),
        history: 1,
        limit_markers: Some(Duration::from_secs(1)),
        ..kv::Config::default()
    };
    let bucket = jetstream.create_key_value(config).await.unwrap();
    // The library puts no TTL on an update: an own publish does.
    let expire = async |key: &str, revision: u64, ttl: u64| {
        let message = PublishMessage::build()
            .expected_last_subject_sequence(revision)
            .ttl(Duration::from_secs(ttl))
            .payload("gone".into());
        let subject = format!("$KV.sessions.{key}");
        let sent = jetstream.send_publish(subject, message).await.unwrap();
        within("a revision", sent.into_future())
            .await
            .map(|ack| ack.sequence)
    };
    let mut watch = bucket.watch_all().await.unwrap();
    let created = bucket.create("back", "here".into()).await.unwrap();
    let revision = expire("back", created, 2).await.unwrap();
    bucket
        .update("back", "here".into(), revision)
        .await
        .unwrap();
    let created = bucket.create("gone", "here".into()).await.unwrap();
    let revision = expire("gone", created, 3).await.unwrap();
    let stale = expire("gone", created, 1).await.unwrap_err();
    assert_eq!(stale.kind(), PublishErrorKind::WrongLastSequence);

    let expired = within("a key expires", async {
        loop {
            let entry = watch.next().await.unwrap().unwrap();
            if entry.operation != Operation::Put {
                return entry;
            }
        }
    })
    .await;
    assert_eq!(expired.key, "gone");
    assert_eq!(expired.operation, Operation::Purge);
    assert_eq!(bucket.get("gone").await.unwrap(), None);
    assert_eq!(bucket.get("back").await.unwrap().unwrap(), "here");
    // It cannot be continued, only begun anew.
    let stale = bucket.update("gone", "here".into(), revision).await;
    assert_eq!(
        stale.unwrap_err().kind(),
        kv::UpdateErrorKind::WrongLastRevision
    );
    bucket.create("gone", "here".into()).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_is_silent_and_goes_on_where_it_was() {
    let mut server = NatsServer::start(Options::default()).await;
    let client = connect(server.url()).await;
    let jetstream = jetstream(&client);
    create(&jetstream, log()).await;
    server.stop().await;
    publish_in_vain(&client, PublishMessage::build()).await;
    server.cont();
    let ack = publish(&jetstream, PublishMessage::build()).await.unwrap();
    assert_eq!(ack.sequence, 2);
}

#[tokio::test]
async fn a_lame_duck_ends_by_itself_and_keeps_what_it_had() {
    let mut server = NatsServer::start(Options::default()).await;
    let client = connect(server.url()).await;
    let stream = create(&jetstream(&client), log()).await;
    publish_persistently(&client, "kept").await;
    server.lame_duck();
    server.wait_ended().await;
    server.restart().await;
    publish_persistently(&client, "later").await;
    assert_eq!(payloads(&stream, [1, 2]).await, ["kept", "later"]);
}

#[tokio::test]
async fn a_full_store_refuses_a_publish_at_once() {
    let options = Options {
        max_file_store: Some(64 * 1024),
        ..Options::default()
    };
    let server = NatsServer::start(options).await;
    let jetstream = jetstream(&connect(server.url()).await);
    create(&jetstream, log()).await;
    let publish_large = async || {
        let message = PublishMessage::build().payload(vec![0; 40 * 1024].into());
        publish(&jetstream, message).await
    };
    publish_large().await.unwrap();
    // The limit is looked at before a message is stored, so one goes beyond it.
    publish_large().await.unwrap();
    let refused = publish_large().await.unwrap_err();
    let reason = refused.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(reason.error_code(), ErrorCode::INSUFFICIENT_RESOURCES);
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let options = Options::default().with_user("chat", "right \"and\" proper");
    let server = NatsServer::start(options).await;
    let login = async |password: &str| {
        let options = ConnectOptions::with_user_and_password("chat".into(), password.into());
        within("an answer", options.connect(server.url())).await
    };
    assert!(login("right \"and\" proper").await.is_ok());
    let refused = login("wrong").await.unwrap_err();
    assert_eq!(refused.kind(), ConnectErrorKind::AuthorizationViolation);
}

#[tokio::test]
async fn three_servers_acknowledge_without_one_of_them_and_it_catches_up() {
    let mut servers = NatsCluster::start(3, &Options::default()).await;
    let client = connect(servers.urls()).await;
    assert!(client.server_info().connect_urls.is_empty(), "a way around");
    let config = Config {
        num_replicas: 3,
        ..log()
    };
    let mut stream = create(&jetstream(&client), config).await;
    publish_persistently(&client, "kept").await;

    // Not the leader: a new one would take seconds to be elected.
    let cluster = stream.info().await.unwrap().cluster.clone().unwrap();
    let follower = servers.named(&cluster.replicas[0].name);
    follower.kill();
    let ack = publish_persistently(&client, "later").await;
    assert_eq!(ack.sequence, 2);
    follower.restart().await;
    within("the server has what it missed", async {
        while follower.monitor("/jsz").await["messages"] != 2 {}
    })
    .await;
    assert_eq!(payloads(&stream, [1, 2]).await, ["kept", "later"]);
}
