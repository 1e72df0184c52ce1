//! Pings, pongs, and the timer that the upper layer shares.

use std::time::{Duration, Instant};

use chatcluster_engineio::{CloseReason, Config, Flow, Frame};

use crate::client::{Poller, close_code, open_websocket, send, text};
use crate::fixture::{Server, Told, eventually, quick, quiet, soon};

#[tokio::test]
async fn a_client_that_answers_stays() {
    let server = Server::echo(quick()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let begin = Instant::now();
    for _ in 0..4 {
        assert_eq!(text(&mut ws).await, "2");
        send(&mut ws, "3").await;
    }
    // A ping may be early by two ticks of the wheel, here 5 ms each.
    assert!(
        begin.elapsed() >= Duration::from_millis(360),
        "a ping follows the pong by the interval"
    );
    assert_eq!(server.told(&sid), []);
}

#[tokio::test]
async fn a_polling_client_is_pinged_too() {
    let server = Server::echo(quick()).await;
    let poller = Poller::open(server.address).await;
    for _ in 0..4 {
        assert_eq!(poller.get().await.body, "2");
        assert_eq!(poller.post("3").await.body, "ok");
    }
    assert_eq!(server.told(&poller.sid), []);
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_closed() {
    let server = Server::echo(quick()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    assert_eq!(text(&mut ws).await, "2");
    let pinged = Instant::now();
    assert_eq!(close_code(&mut ws).await, Some(1000));
    // The ping was under way for a moment when the client saw it.
    assert!(
        pinged.elapsed() > Duration::from_millis(100),
        "{:?}",
        pinged.elapsed()
    );
    assert_eq!(server.reason(&sid).await, CloseReason::PingTimeout);
}

#[tokio::test]
async fn a_polling_client_that_does_not_answer_is_unknown_afterwards() {
    let server = Server::echo(quick()).await;
    let poller = Poller::open(server.address).await;
    assert_eq!(poller.get().await.body, "2");
    assert_eq!(poller.get().await.body, "1");
    assert_eq!(server.reason(&poller.sid).await, CloseReason::PingTimeout);
    assert_eq!(poller.get().await.status, 400);
}

#[tokio::test]
async fn a_ping_does_not_overtake_what_was_sent_before() {
    let server = Server::silent(quick()).await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text("first")]).unwrap();
    let before = session.queued_bytes();
    eventually("the ping is queued", || session.queued_bytes() > before).await;
    assert_eq!(poller.get().await.body, "4first\u{1e}2");
}

#[tokio::test]
async fn while_reading_is_paused_the_deadline_waits_but_not_for_ever() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        ..quick()
    };
    let server = Server::start(config, |_, _| Flow::Pause).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    send(&mut ws, "4pause").await;
    assert_eq!(text(&mut ws).await, "2");
    let pinged = Instant::now();
    send(&mut ws, "3").await;
    assert_eq!(server.reason(&sid).await, CloseReason::PingTimeout);
    assert!(
        pinged.elapsed() > Duration::from_millis(500),
        "{:?}",
        pinged.elapsed()
    );
}

#[tokio::test]
async fn a_pong_behind_a_pause_still_counts() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        ..quick()
    };
    let server = Server::start(config, |_, _| Flow::Pause).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    send(&mut ws, "4pause").await;
    assert_eq!(text(&mut ws).await, "2");
    send(&mut ws, "3").await;
    // Past one timeout, before four.
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(server.reasons(&sid), []);
    server.session(&sid).resume();
    assert_eq!(text(&mut ws).await, "2", "the heartbeat goes on");
}

#[tokio::test]
async fn the_upper_layer_is_told_when_its_time_has_passed() {
    let server = Server::silent(quick()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = server.session(&sid);
    let begin = Instant::now();
    session.set_timeout(Duration::from_millis(60), 7);
    session.set_timeout(Duration::from_millis(30), 8);
    let told = || {
        server
            .told(&sid)
            .into_iter()
            .filter(|told| matches!(told, Told::Timeout(_)))
            .collect::<Vec<_>>()
    };
    eventually("both timeouts", || told().len() == 2).await;
    assert!(begin.elapsed() >= Duration::from_millis(60));
    assert_eq!(told(), [Told::Timeout(8), Told::Timeout(7)]);
    send(&mut ws, "1").await;
    session.set_timeout(Duration::from_millis(1), 9);
    server.reason(&sid).await;
}

#[tokio::test]
async fn a_session_is_freed_when_it_is_closed() {
    let server = Server::echo(quiet()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = std::sync::Arc::downgrade(&server.session(&sid));
    send(&mut ws, "1").await;
    server.reason(&sid).await;
    drop(ws);
    eventually("nobody holds the session", || session.strong_count() == 0).await;

    let poller = Poller::open(server.address).await;
    let session = std::sync::Arc::downgrade(&server.session(&poller.sid));
    soon("the close", poller.post("1")).await;
    eventually("nobody holds the session", || session.strong_count() == 0).await;
}
