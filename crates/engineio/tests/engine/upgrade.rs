//! From long-polling to WebSocket: the probe, what fails it, and that nothing is lost or reordered on the way.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::{CloseReason, Config, Flow, Frame, TransportKind};
use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Poller, Ws, close_code, read_reply, send, text};
use crate::fixture::{Server, eventually, quiet, soon};

const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

async fn probed(poller: &Poller) -> Ws {
    let mut ws = poller.websocket().await;
    send(&mut ws, "2probe").await;
    assert_eq!(text(&mut ws).await, "3probe");
    ws
}

async fn upgraded(server: &Server, poller: &Poller) -> Ws {
    let mut ws = probed(poller).await;
    send(&mut ws, "5").await;
    let session = server.session(&poller.sid);
    eventually("the upgrade", || {
        session.transport() == TransportKind::WebSocket
    })
    .await;
    ws
}

#[tokio::test]
async fn a_probed_websocket_takes_over_with_what_was_queued() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut ws = probed(&poller).await;
    server
        .session(&poller.sid)
        .send(&[Frame::text("queued")])
        .unwrap();
    send(&mut ws, "5").await;
    assert_eq!(text(&mut ws).await, "4queued");
    send(&mut ws, "4hello").await;
    assert_eq!(text(&mut ws).await, "4hello");
    let counters = server.engine.counters();
    assert_eq!(
        (counters.upgrades.get(), counters.failed_upgrades.get()),
        (1, 0)
    );
    assert_eq!(
        (counters.open_polling.get(), counters.open_websocket.get()),
        (0, 1)
    );
}

#[tokio::test]
async fn messages_may_follow_the_upgrade_packet_at_once() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut ws = probed(&poller).await;
    for packet in ["5", "4a", "4b"] {
        ws.feed(Message::text(packet)).await.unwrap();
    }
    ws.flush().await.unwrap();
    assert_eq!(
        (text(&mut ws).await, text(&mut ws).await),
        ("4a".into(), "4b".into())
    );
}

#[tokio::test]
async fn the_probe_releases_the_waiting_get_and_those_after_it() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let get = poller.begin_get().await;
    let session = server.session(&poller.sid);
    eventually("the GET waits", || session.is_writable()).await;
    let mut ws = probed(&poller).await;
    assert_eq!(read_reply(get).await.body, "6");
    assert_eq!(poller.get().await.body, "6");
    session.send(&[Frame::text("by polling")]).unwrap();
    assert_eq!(poller.get().await.body, "4by polling");
    assert_eq!(poller.post("4up").await.body, "ok");
    assert_eq!(poller.get().await.body, "4up");
    send(&mut ws, "5").await;
    eventually("the upgrade", || {
        session.transport() == TransportKind::WebSocket
    })
    .await;
}

#[tokio::test]
async fn after_the_upgrade_http_is_a_bad_request_and_a_second_websocket_is_closed() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut ws = upgraded(&server, &poller).await;
    assert_eq!(poller.get().await.body, BAD_REQUEST);
    assert_eq!(poller.post("4a").await.body, BAD_REQUEST);
    let mut second = poller.websocket().await;
    assert_eq!(close_code(&mut second).await, Some(1000));
    send(&mut ws, "4still here").await;
    assert_eq!(text(&mut ws).await, "4still here");
}

#[tokio::test]
async fn a_second_upgrade_is_closed_and_the_first_goes_on() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut first = probed(&poller).await;
    let mut second = poller.websocket().await;
    assert_eq!(close_code(&mut second).await, Some(1000));
    send(&mut first, "5").await;
    send(&mut first, "4a").await;
    assert_eq!(text(&mut first).await, "4a");
}

#[tokio::test]
async fn anything_but_the_probe_closes_the_websocket_only() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    for packet in ["4hello", "2", "2other", "5", "abc"] {
        let mut ws = poller.websocket().await;
        send(&mut ws, packet).await;
        assert_eq!(close_code(&mut ws).await, Some(1000), "{packet}");
    }
    let mut ws = probed(&poller).await;
    send(&mut ws, "4hello").await;
    assert_eq!(close_code(&mut ws).await, Some(1000));
    eventually("the upgrades are given up", || {
        server.engine.counters().failed_upgrades.get() == 6
    })
    .await;

    assert_eq!(poller.post("4polling goes on").await.body, "ok");
    assert_eq!(poller.get().await.body, "4polling goes on");
    upgraded(&server, &poller).await;
}

#[tokio::test]
async fn a_websocket_that_goes_away_while_probing_leaves_polling_alone() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    drop(probed(&poller).await);
    eventually("the upgrade is given up", || {
        server.engine.counters().failed_upgrades.get() == 1
    })
    .await;
    assert_eq!(poller.post("4a").await.body, "ok");
    assert_eq!(poller.get().await.body, "4a");
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_is_closed() {
    let server = Server::echo(Config {
        upgrade_timeout: Duration::from_millis(100),
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    let mut silent = poller.websocket().await;
    assert_eq!(close_code(&mut silent).await, Some(1000));
    let mut half = probed(&poller).await;
    assert_eq!(close_code(&mut half).await, Some(1000));
    assert_eq!(poller.post("4a").await.body, "ok");
    assert_eq!(poller.get().await.body, "4a");
}

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_closed() {
    let server = Server::echo(Config {
        allow_upgrades: false,
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    let mut ws = poller.websocket().await;
    assert_eq!(close_code(&mut ws).await, Some(1000));
    assert_eq!(poller.post("4a").await.body, "ok");
}

#[tokio::test]
async fn the_end_of_the_session_closes_the_probing_websocket() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut ws = probed(&poller).await;
    server.session(&poller.sid).close(CloseReason::ForcedClose);
    assert_eq!(close_code(&mut ws).await, Some(1000));
    assert_eq!(poller.get().await.body, "1");
    assert_eq!(server.reason(&poller.sid).await, CloseReason::ForcedClose);
    assert_eq!(server.engine.counters().open_polling.get(), 0);
}

#[tokio::test]
async fn an_upgrade_waits_for_the_post_that_is_being_read() {
    let server = Server::start(quiet(), |_, message| {
        if *message == chatcluster_engineio::Message::Text("pause".into()) {
            Flow::Pause
        } else {
            Flow::Continue
        }
    })
    .await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    let post =
        crate::client::send_request(server.address, "POST", &poller.path(), "", "4pause\u{1e}4b")
            .await;
    eventually("the pause", || server.engine.counters().pauses.get() == 1).await;
    let mut ws = probed(&poller).await;
    send(&mut ws, "5").await;
    send(&mut ws, "4c").await;
    assert_eq!(session.transport(), TransportKind::Polling);
    session.resume();
    assert_eq!(read_reply(post).await.body, "ok");
    server.message_count(&poller.sid, 3).await;
    assert_eq!(server.texts(&poller.sid), ["pause", "b", "c"]);
    assert_eq!(session.transport(), TransportKind::WebSocket);
}

#[tokio::test]
async fn a_get_that_overtakes_the_upgrade_packet_is_a_bad_request() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut ws = probed(&poller).await;
    let get = poller.begin_get().await;
    let session = server.session(&poller.sid);
    eventually("the GET is held", || session.is_writable()).await;
    send(&mut ws, "5").await;
    assert_eq!(read_reply(get).await.body, BAD_REQUEST);
    send(&mut ws, "4hello").await;
    assert_eq!(text(&mut ws).await, "4hello");
}

const MESSAGES: usize = 300;
const CLIENTS: usize = 40;

/// One client as the official one behaves: it stops polling before it completes the upgrade.
async fn upgrade_under_load(server: Arc<Server>) {
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    let sender = tokio::spawn(async move {
        for number in 0..MESSAGES {
            session.send(&[Frame::text(&number.to_string())]).unwrap();
            tokio::task::yield_now().await;
            if number % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut received: Vec<String> = Vec::new();
    let mut sent = 0;
    let mut ws = poller.websocket().await;
    for _ in 0..3 {
        poller.post(&format!("4{sent}")).await;
        sent += 1;
        received.extend(poller.get().await.body.split('\u{1e}').map(str::to_owned));
    }
    send(&mut ws, "2probe").await;
    let last_get = tokio::spawn({
        let poller = poller.clone();
        async move { poller.get().await.body }
    });
    assert_eq!(text(&mut ws).await, "3probe");
    received.extend(last_get.await.unwrap().split('\u{1e}').map(str::to_owned));
    send(&mut ws, "5").await;
    while sent < 50 {
        send(&mut ws, &format!("4{sent}")).await;
        sent += 1;
    }
    let is_message = |packet: &String| packet.starts_with('4');
    received.retain(is_message);
    while received.len() < MESSAGES {
        received.push(text(&mut ws).await);
    }
    sender.await.unwrap();
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("4{number}")).collect();
    assert_eq!(received, expected);
    server.message_count(&poller.sid, sent).await;
    let expected: Vec<_> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(server.texts(&poller.sid), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_reordered_through_an_upgrade() {
    let server = Arc::new(Server::silent(quiet()).await);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(upgrade_under_load(Arc::clone(&server))))
        .collect();
    for client in clients {
        soon("a client", client).await.unwrap();
    }
    assert_eq!(server.engine.counters().upgrades.get(), CLIENTS as u64);
}
