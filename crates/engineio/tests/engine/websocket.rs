//! WebSocket sessions: messages, violations, and how either side ends them.

use std::time::Duration;

use bytes::Bytes;
use chatcluster_engineio::{CloseReason, Config, Flow, Frame, Message as Received};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{RawWs, close_code, masked, open_websocket, send, text};
use crate::fixture::{Server, eventually, quiet, soon};

#[tokio::test]
async fn text_and_binary_come_back() {
    let server = Server::echo(quiet()).await;
    let (mut ws, _) = open_websocket(server.address).await;
    send(&mut ws, "4grüße").await;
    assert_eq!(text(&mut ws).await, "4grüße");
    ws.send(Message::binary(vec![0, 1, 255])).await.unwrap();
    assert_eq!(
        soon("an echo", ws.next()).await.unwrap().unwrap(),
        Message::binary(vec![0, 1, 255])
    );
    let large = format!("4{}", "x".repeat(999_999));
    send(&mut ws, &large).await;
    assert!(text(&mut ws).await == large);
}

#[tokio::test]
async fn what_is_sent_with_the_handshake_is_read() {
    let server = Server::echo(quiet()).await;
    let early = [masked(0x81, b"4early"), masked(0x81, b"4bird")].concat();
    let (mut raw, _) = RawWs::open(server.address, &early).await;
    assert_eq!(raw.frame().await, Some((0x81, b"4early".to_vec())));
    assert_eq!(raw.frame().await, Some((0x81, b"4bird".to_vec())));
}

#[tokio::test]
async fn a_message_may_arrive_byte_by_byte() {
    let server = Server::echo(quiet()).await;
    let (mut raw, _) = RawWs::open(server.address, b"").await;
    raw.stream.set_nodelay(true).unwrap();
    for byte in [masked(0x01, b"4he"), masked(0x80, b"llo")].concat() {
        raw.write(&[byte]).await;
    }
    assert_eq!(raw.frame().await, Some((0x81, b"4hello".to_vec())));
}

#[tokio::test]
async fn a_websocket_ping_is_answered() {
    let server = Server::echo(quiet()).await;
    let (mut raw, _) = RawWs::open(server.address, b"").await;
    raw.write(&masked(0x89, b"are you there")).await;
    assert_eq!(raw.frame().await, Some((0x8a, b"are you there".to_vec())));
}

fn violations() -> [(&'static str, Vec<u8>, u16, CloseReason); 7] {
    let error = CloseReason::TransportError;
    [
        ("not masked", vec![0x81, 1, b'4'], 1002, error),
        ("a reserved bit", masked(0xc1, b"4"), 1002, error),
        ("no UTF-8", masked(0x81, b"4\xff"), 1007, error),
        ("too long", masked(0x81, &[b'4'; 1001]), 1009, error),
        (
            "no packet",
            masked(0x81, b"abc"),
            1002,
            CloseReason::ParseError,
        ),
        (
            "an empty text",
            masked(0x81, b""),
            1002,
            CloseReason::ParseError,
        ),
        ("a ping of the client", masked(0x81, b"2"), 1000, error),
    ]
}

#[tokio::test]
async fn each_violation_has_its_close_code() {
    let server = Server::echo(Config {
        max_payload: 1000,
        ..quiet()
    })
    .await;
    for (name, wire, code, reason) in violations() {
        let (mut raw, sid) = RawWs::open(server.address, b"").await;
        raw.write(&wire).await;
        let close = raw.frame().await;
        assert_eq!(close, Some((0x88, code.to_be_bytes().to_vec())), "{name}");
        assert_eq!(raw.frame().await, None, "{name}");
        assert_eq!(server.reason(&sid).await, reason, "{name}");
    }
    assert_eq!(server.engine.session_count(), 0);
    assert_eq!(server.engine.counters().open_websocket.get(), 0);
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    let server = Server::echo(quiet()).await;
    let (mut raw, sid) = RawWs::open(server.address, b"").await;
    raw.write(&masked(0x88, &4001_u16.to_be_bytes())).await;
    assert_eq!(
        raw.frame().await,
        Some((0x88, 4001_u16.to_be_bytes().to_vec()))
    );
    assert_eq!(server.reason(&sid).await, CloseReason::TransportClose);
}

#[tokio::test]
async fn a_close_packet_ends_the_session() {
    let server = Server::echo(quiet()).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    send(&mut ws, "4a").await;
    send(&mut ws, "1").await;
    assert_eq!(text(&mut ws).await, "4a");
    assert_eq!(close_code(&mut ws).await, Some(1000));
    assert_eq!(server.reason(&sid).await, CloseReason::TransportClose);
}

#[tokio::test]
async fn a_connection_that_just_ends_is_a_transport_close() {
    let server = Server::echo(quiet()).await;
    let (raw, sid) = RawWs::open(server.address, b"").await;
    drop(raw);
    assert_eq!(server.reason(&sid).await, CloseReason::TransportClose);
}

#[tokio::test]
async fn a_pause_stops_reading_and_a_resume_goes_on_in_order() {
    let server = Server::start(quiet(), |_, message| match message {
        Received::Text(text) if text.as_str().ends_with('0') => Flow::Pause,
        _ => Flow::Continue,
    })
    .await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = server.session(&sid);
    for number in 0..100 {
        ws.feed(Message::text(format!("4{number}"))).await.unwrap();
    }
    ws.flush().await.unwrap();
    for pause in 1..=10 {
        eventually("the pause", || {
            server.engine.counters().pauses.get() == pause
        })
        .await;
        assert_eq!(server.texts(&sid).len() as u64, (pause - 1) * 10 + 1);
        session.send(&[Frame::text("writing goes on")]).unwrap();
        assert_eq!(text(&mut ws).await, "4writing goes on");
        session.resume();
    }
    server.message_count(&sid, 100).await;
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(server.texts(&sid), expected);
}

#[tokio::test]
async fn the_server_closes_with_a_code_after_what_was_queued() {
    let server = Server::silent(quiet()).await;
    for (reason, code) in [
        (CloseReason::ForcedClose, 1000),
        (CloseReason::ServerShuttingDown, 1001),
    ] {
        let (mut ws, sid) = open_websocket(server.address).await;
        let session = server.session(&sid);
        session
            .send(&[Frame::text("bye"), Frame::binary(Bytes::from_static(b"x"))])
            .unwrap();
        session.close(reason);
        assert!(session.is_closed());
        assert_eq!(
            session.send(&[Frame::text("late")]),
            Err(chatcluster_engineio::SendError::Closed)
        );
        assert_eq!(text(&mut ws).await, "4bye");
        assert_eq!(close_code(&mut ws).await, Some(code));
        assert_eq!(server.reason(&sid).await, reason);
    }
}

#[tokio::test]
async fn a_close_after_flush_waits_for_a_slow_reader() {
    let server = Server::silent(Config {
        max_send_queue: 64 << 20,
        ..quiet()
    })
    .await;
    let (mut ws, sid) = open_websocket(server.address).await;
    let session = server.session(&sid);
    let frame = Frame::text(&"x".repeat(100_000));
    for _ in 0..300 {
        session.send(std::slice::from_ref(&frame)).unwrap();
    }
    session.close_after_flush(CloseReason::ForcedClose, Duration::from_secs(20));
    let mut received = 0;
    loop {
        match soon("a message", ws.next()).await {
            Some(Ok(Message::Text(_))) => received += 1,
            Some(Ok(Message::Close(_))) => break,
            other => panic!("{other:?} after {received} messages"),
        }
    }
    assert_eq!(received, 300);
}

#[tokio::test]
async fn a_close_from_within_the_handler_ends_the_session() {
    let server = Server::start(quiet(), |session, _| {
        session.close(CloseReason::ForcedServerClose);
        Flow::Continue
    })
    .await;
    let (mut ws, sid) = open_websocket(server.address).await;
    ws.feed(Message::text("4a")).await.unwrap();
    ws.feed(Message::text("4b")).await.unwrap();
    ws.flush().await.unwrap();
    assert_eq!(close_code(&mut ws).await, Some(1000));
    assert_eq!(server.reason(&sid).await, CloseReason::ForcedServerClose);
    assert_eq!(server.texts(&sid), ["a"]);
}

#[tokio::test]
async fn a_close_from_within_open_ends_the_session() {
    let server = Server::silent(quiet()).await;
    *server.upper.on_open.lock() = Some(|session| session.close(CloseReason::ForcedServerClose));
    let (mut ws, sid) = open_websocket(server.address).await;
    assert_eq!(close_code(&mut ws).await, Some(1000));
    assert_eq!(server.reason(&sid).await, CloseReason::ForcedServerClose);
    let poller = crate::client::Poller::open(server.address).await;
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::ForcedServerClose
    );
    assert_eq!(poller.get().await.body, "1");
}

#[tokio::test]
async fn what_is_sent_from_within_open_follows_the_handshake() {
    let server = Server::silent(quiet()).await;
    *server.upper.on_open.lock() = Some(|session| session.send(&[Frame::text("welcome")]).unwrap());
    let (mut ws, _) = open_websocket(server.address).await;
    assert_eq!(text(&mut ws).await, "4welcome");
    let poller = crate::client::Poller::open(server.address).await;
    assert_eq!(poller.get().await.body, "4welcome");
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_session_only() {
    let server = Server::start(quiet(), |session, message| {
        assert!(*message != Received::Text("panic".into()), "asked to");
        session.send(&[crate::fixture::echo(message)]).unwrap();
        Flow::Continue
    })
    .await;
    let (mut bystander, _) = open_websocket(server.address).await;
    let (mut ws, sid) = open_websocket(server.address).await;
    send(&mut ws, "4panic").await;
    assert_eq!(server.reason(&sid).await, CloseReason::TransportError);
    send(&mut bystander, "4fine").await;
    assert_eq!(text(&mut bystander).await, "4fine");
}
