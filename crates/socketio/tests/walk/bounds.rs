//! What one connection can cost: timers, bytes that wait for a handler, a middleware that never answers.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::{AckSender, Config, Data, SocketIo, SocketRef};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{Client, until, within};
use crate::node::{Node, config};

fn impatient() -> Config {
    Config {
        connect_timeout: Duration::from_millis(300),
        ..config()
    }
}

#[tokio::test]
async fn binary_headers_one_after_another_are_timed_each_by_its_own_time() {
    let node = Node::alone(impatient(), 1, |io| {
        io.ns("/", async || {}).on(
            "echo",
            async |_: SocketRef, Data(n): Data<u64>, ack: AckSender| {
                ack.send(&n).expect("an acknowledgement");
            },
        );
    });
    let mut client = Client::connect(node.address).await;
    // Each is complete before its time is up, and the sum takes much longer than that.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        client.send_binary("news").await;
        assert_eq!(client.ask("echo", &json!(1)).await, 1);
    }
    client
        .send("451-[\"news\",{\"_placeholder\":true,\"num\":0}]".to_owned())
        .await;
    client.read_to_end(false).await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "the last one never came"
    );
}

#[tokio::test]
async fn an_inbox_is_bounded_in_bytes_too() {
    const EVENTS: u64 = 60;
    let gate = Arc::new(Semaphore::new(0));
    let opens = gate.clone();
    let mut config = config();
    config.engine.max_payload = 20_000;
    let node = Node::alone(config, 1, move |io: &SocketIo| {
        io.ns("/", async || {}).on(
            "work",
            move |_: SocketRef, Data(_): Data<String>, ack: AckSender| {
                let gate = gate.clone();
                async move {
                    drop(gate.acquire().await.expect("never closed"));
                    ack.send(&()).expect("an acknowledgement");
                }
            },
        );
    });
    let mut client = Client::connect(node.address).await;
    for _ in 0..EVENTS {
        client.emit("work", &json!("x".repeat(10_000))).await;
    }
    let counters = node.io.counters();
    // Far fewer than the 256 events that it would take otherwise.
    until("a pause", || counters.inbox_pauses.get() > 0).await;
    opens.add_permits(1);
    let last = |seen: &crate::client::Seen| matches!(seen, crate::client::Seen::Ack(id, _) if *id == EVENTS - 1);
    client.read_until("all acknowledgements", 0, last).await;
}

#[tokio::test]
async fn a_middleware_that_panics_refuses_its_client_only() {
    let node = Node::alone(impatient(), 1, |io| {
        io.ns("/", async || {}).with(|connecting| async move {
            let auth: Value = connecting.auth().unwrap_or_default();
            assert!(auth["pid"].is_null(), "as the test wants it");
            Ok(())
        });
    });
    let refused = Client::refused(node.address, json!({ "pid": "x" })).await;
    assert_eq!(refused["message"], "try again later");
    assert_eq!(node.io.counters().handler_panics.get(), 1);
    Client::connect(node.address).await.disconnect().await;
}

#[tokio::test]
async fn a_middleware_that_never_answers_ends_with_the_time_to_connect() {
    let node = Node::alone(impatient(), 1, |io| {
        io.ns("/", async || {}).with(|_| std::future::pending());
    });
    within(
        "the end of the connection",
        Client::never_answered(node.address),
    )
    .await;
}
