//! The end of one session from many threads, and the end of all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chatcluster_engineio::{CloseReason, Frame, Session};
use tokio::task::JoinSet;

use crate::client::{Poller, RawWs, close_code, open_websocket, read_reply, request};
use crate::fixture::{Server, eventually, quiet, soon};

async fn close_from_all_sides(session: &Arc<Session>) {
    let mut closers = JoinSet::new();
    for _ in 0..4 {
        let session = Arc::clone(session);
        closers.spawn(async move { session.close(CloseReason::ForcedClose) });
    }
    closers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_told_once_however_many_close() {
    let server = Server::silent(quiet()).await;
    for _ in 0..50 {
        let (_ws, ws_sid) = open_websocket(server.address).await;
        let poller = Poller::open(server.address).await;
        for sid in [&ws_sid, &poller.sid] {
            close_from_all_sides(&server.session(sid)).await;
            assert_eq!(server.reason(sid).await, CloseReason::ForcedClose);
        }
    }
    assert_eq!(
        server
            .engine
            .counters()
            .closed_for(CloseReason::ForcedClose),
        100
    );
    assert_eq!(server.engine.session_count(), 0);
}

#[tokio::test]
async fn closing_the_engine_ends_everything_within_the_bound() {
    let server = Server::silent(quiet()).await;
    let poller = Poller::open(server.address).await;
    let get = poller.begin_get().await;
    let waiting = server.session(&poller.sid);
    eventually("the GET waits", || waiting.is_writable()).await;
    let idle = Poller::open(server.address).await;
    let (mut ws, ws_sid) = open_websocket(server.address).await;
    let (deaf, deaf_sid) = RawWs::open(server.address, b"").await;
    let full = Frame::text(&"x".repeat(1 << 20));
    for _ in 0..20 {
        server
            .session(&deaf_sid)
            .send_beyond_bound(std::slice::from_ref(&full))
            .unwrap();
    }
    let reading = tokio::spawn(async move { close_code(&mut ws).await });

    let begin = Instant::now();
    let closing = server
        .engine
        .close(CloseReason::ServerShuttingDown, Duration::from_secs(1));
    soon("the engine to close", closing).await;
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );

    for sid in [&poller.sid, &idle.sid, &ws_sid, &deaf_sid] {
        assert_eq!(server.reason(sid).await, CloseReason::ServerShuttingDown);
    }
    assert_eq!(reading.await.unwrap(), Some(1001));
    assert_eq!(read_reply(get).await.body, "1");
    assert_eq!(idle.get().await.body, "1");
    assert_eq!(server.engine.session_count(), 0);
    drop(deaf);
}

#[tokio::test]
async fn a_session_that_opens_after_the_end_is_closed_at_once() {
    let server = Server::silent(quiet()).await;
    server
        .engine
        .close(CloseReason::ServerShuttingDown, Duration::from_secs(1))
        .await;
    let poller = Poller::open(server.address).await;
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::ServerShuttingDown
    );
    let reply = request(server.address, "GET", &poller.path(), "", "").await;
    assert_eq!(reply.body, "1");
}

#[tokio::test]
async fn a_session_that_times_out_after_a_close_is_not_told_again() {
    let server = Server::silent(crate::fixture::quick()).await;
    let poller = Poller::open(server.address).await;
    let (_ws, sid) = open_websocket(server.address).await;
    server.session(&poller.sid).close(CloseReason::ForcedClose);
    // The other session's timeout marks that the first one's time has passed, too.
    assert_eq!(server.reason(&sid).await, CloseReason::PingTimeout);
    assert_eq!(server.reason(&poller.sid).await, CloseReason::ForcedClose);
}
