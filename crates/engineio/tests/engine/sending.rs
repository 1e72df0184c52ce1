//! The send queue: batching, bounds, and peers that read slowly or not at all.

use std::time::{Duration, Instant};

use chatcluster_engineio::{CloseReason, Config, Frame, SendError};
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;

use crate::client::{Poller, RawWs, open_websocket, text};
use crate::fixture::{Server, eventually, quiet, soon};

#[tokio::test]
async fn frames_of_one_turn_leave_in_one_write() {
    let server = Server::silent(quiet()).await;
    let (mut raw, sid) = RawWs::open(server.address, b"").await;
    let session = server.session(&sid);
    // Without an await in between, the session's task cannot run on this one thread.
    for number in 0..20 {
        session
            .send(&[Frame::text(&format!("{number:02}"))])
            .unwrap();
    }
    let mut buffer = [0; 1000];
    let length = soon("the frames", raw.stream.read(&mut buffer))
        .await
        .unwrap();
    assert_eq!(length, 20 * 5);
}

#[tokio::test]
async fn a_burst_to_a_slow_reader_arrives_complete() {
    let server = Server::silent(quiet()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = server.session(&sid);
    let padding = "x".repeat(700);
    for number in 0..5000 {
        session
            .send(&[Frame::text(&format!("{number} {padding}"))])
            .unwrap();
    }
    for number in 0..5000 {
        assert!(
            text(&mut ws).await.starts_with(&format!("4{number} ")),
            "{number}"
        );
        if number % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    eventually("the queue is empty", || session.queued_bytes() == 0).await;
    assert!(session.is_writable());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_bounded() {
    let server = Server::silent(Config {
        max_send_queue: 1 << 20,
        ..quiet()
    })
    .await;
    let (raw, sid) = RawWs::open(server.address, b"").await;
    let session = server.session(&sid);
    let frame = Frame::text(&"x".repeat(10_000));
    let mut outcome = Ok(());
    for _ in 0..10_000 {
        outcome = session.send(std::slice::from_ref(&frame));
        if outcome.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(outcome, Err(SendError::Full));
    assert!(session.queued_bytes() <= 1 << 20);
    assert!(!session.is_writable() && !session.is_closed());
    assert_eq!(server.engine.counters().queue_full.get(), 1);
    assert_eq!(session.send_beyond_bound(&[frame]), Ok(()));

    let begin = Instant::now();
    session.close(CloseReason::ForcedClose);
    assert_eq!(server.reason(&sid).await, CloseReason::ForcedClose);
    soon(
        "all is gone",
        server
            .engine
            .close(CloseReason::ServerShuttingDown, Duration::from_secs(10)),
    )
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
    drop(raw);
}

#[tokio::test]
async fn a_flush_to_a_peer_that_does_not_read_ends_at_its_deadline() {
    let server = Server::silent(quiet()).await;
    let (raw, sid) = RawWs::open(server.address, b"").await;
    let session = server.session(&sid);
    let frame = Frame::text(&"x".repeat(1 << 20));
    for _ in 0..20 {
        session
            .send_beyond_bound(std::slice::from_ref(&frame))
            .unwrap();
    }
    let begin = Instant::now();
    session.close_after_flush(CloseReason::ForcedClose, Duration::from_millis(300));
    soon(
        "all is gone",
        server
            .engine
            .close(CloseReason::ServerShuttingDown, Duration::from_secs(10)),
    )
    .await;
    let elapsed = begin.elapsed();
    assert!(
        elapsed >= Duration::from_millis(250) && elapsed < Duration::from_secs(2),
        "{elapsed:?}"
    );
    drop(raw);
}

#[tokio::test]
async fn a_batch_beyond_the_bound_is_refused_whole() {
    let server = Server::silent(Config {
        max_send_queue: 1000,
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text("a")]).unwrap();
    let half = Frame::text(&"x".repeat(600));
    assert_eq!(
        session.send(&[half.clone(), half.clone()]),
        Err(SendError::Full)
    );
    assert_eq!(session.send(&[half]), Ok(()));
    assert_eq!(
        poller.get().await.body,
        format!("4a\u{1e}4{}", "x".repeat(600))
    );
}

#[tokio::test]
async fn a_frame_longer_than_the_bound_passes_an_empty_queue() {
    let server = Server::silent(Config {
        max_send_queue: 1000,
        ..quiet()
    })
    .await;
    let (mut ws, sid) = open_websocket(server.address).await;
    eventually("the handshake is written", || {
        server.session(&sid).queued_bytes() == 0
    })
    .await;
    server
        .session(&sid)
        .send(&[Frame::text(&"x".repeat(5000))])
        .unwrap();
    assert_eq!(text(&mut ws).await.len(), 5001);
}

#[tokio::test]
async fn drained_resolves_when_the_peer_has_read() {
    let server = Server::silent(Config {
        max_send_queue: 64 << 20,
        ..quiet()
    })
    .await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = server.session(&sid);
    let frame = Frame::text(&"x".repeat(1 << 20));
    for _ in 0..20 {
        session.send(std::slice::from_ref(&frame)).unwrap();
    }
    let early = tokio::time::timeout(Duration::from_millis(100), session.drained()).await;
    assert!(early.is_err(), "20 MiB do not fit into the socket");
    let reading = async { while ws.next().await.is_some() {} };
    tokio::select! {
        () = reading => panic!("the session ended"),
        () = soon("the queue to drain", session.drained()) => {}
    }
    assert!(session.queued_bytes() < 16 << 10);
}

#[tokio::test]
async fn drained_resolves_when_the_session_closes() {
    let server = Server::silent(quiet()).await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text(&"x".repeat(100_000))]).unwrap();
    let closer = std::sync::Arc::clone(&session);
    tokio::spawn(async move { closer.close(CloseReason::ForcedClose) });
    soon("the end", session.drained()).await;
    assert!(session.is_closed());
}

#[tokio::test]
async fn drained_resolves_when_a_poll_has_fetched_everything() {
    let server = Server::silent(quiet()).await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text(&"x".repeat(100_000))]).unwrap();
    let (reply, ()) = tokio::join!(poller.get(), soon("the poll", session.drained()));
    assert_eq!(reply.body.len(), 100_001);
}
