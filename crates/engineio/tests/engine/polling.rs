//! Long-polling: what GET and POST answer, in order and out of order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcluster_engineio::{CloseReason, Config, Flow, Frame, Message};
use tokio::io::AsyncWriteExt;

use crate::client::{Poller, read_reply, request, send_request};
use crate::fixture::{Server, Told, eventually, quiet, soon};

const UNKNOWN_SID: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
const BAD_REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;

/// Begins a GET and waits until the server holds it.
async fn hold_get(server: &Server, poller: &Poller) -> tokio::net::TcpStream {
    let get = poller.begin_get().await;
    let session = server.session(&poller.sid);
    eventually("the GET waits", || session.is_writable()).await;
    get
}

#[tokio::test]
async fn a_post_is_answered_ok_and_a_get_with_text() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let reply = poller.post("4hello").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    assert_eq!(reply.header("content-type"), Some("text/html"));
    let reply = poller.get().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "4hello"));
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn packets_of_one_post_keep_their_order_and_kind() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    poller.post("4a\u{1e}bAQIDBA==\u{1e}4grüße").await;
    assert_eq!(poller.get().await.body, "4a\u{1e}bAQIDBA==\u{1e}4grüße");
    let expected = [
        Told::Message(Message::Text("a".into())),
        Told::Message(Message::Binary(Bytes::from_static(&[1, 2, 3, 4]))),
        Told::Message(Message::Text("grüße".into())),
    ];
    assert_eq!(server.told(&poller.sid), expected);
}

#[tokio::test]
async fn a_get_waits_until_something_is_sent() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let get = hold_get(&server, &poller).await;
    server
        .session(&poller.sid)
        .send(&[Frame::text("now")])
        .unwrap();
    assert_eq!(read_reply(get).await.body, "4now");
}

#[tokio::test]
async fn a_response_is_bounded_by_max_payload() {
    let server = Server::silent(Config {
        max_payload: 1000,
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    for number in 0..10 {
        session
            .send(&[Frame::text(&format!("{number}{}", "x".repeat(300)))])
            .unwrap();
    }
    let mut received = Vec::new();
    while received.len() < 10 {
        let body = poller.get().await.body;
        assert!(body.len() <= 1000, "{}", body.len());
        received.extend(body.split('\u{1e}').map(|packet| packet[1..2].to_owned()));
    }
    assert_eq!(received.concat(), "0123456789");
    session.send(&[Frame::text(&"y".repeat(5000))]).unwrap();
    assert_eq!(
        poller.get().await.body.len(),
        5001,
        "one packet cannot be sliced"
    );
}

#[tokio::test]
async fn a_body_beyond_max_payload_gets_413_and_the_session_goes_on() {
    let server = Server::echo(Config {
        max_payload: 1000,
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    assert_eq!(poller.post(&"4".repeat(1001)).await.status, 413);
    // Nothing announced: the limit must hold while the body is read.
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut stream = send_request(server.address, "POST", &poller.path(), chunked, "").await;
    let chunk = format!("258\r\n{}\r\n", "4".repeat(600));
    stream.write_all(chunk.repeat(2).as_bytes()).await.unwrap();
    assert_eq!(read_reply(stream).await.status, 413);

    assert_eq!(
        poller.post(&format!("4{}", "x".repeat(999))).await.status,
        200
    );
    assert_eq!(poller.get().await.body.len(), 1000);
}

#[tokio::test]
async fn other_kinds_and_methods_are_bad_requests() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let reply = request(server.address, "PUT", &poller.path(), "", "4a").await;
    assert_eq!((reply.status, reply.body.as_str()), (400, BAD_REQUEST));
    let path = poller.path().replace("polling", "websocket");
    let reply = request(server.address, "GET", &path, "", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (400, BAD_REQUEST));
    let other_version = poller.path().replace("EIO=4", "EIO=3");
    let reply = request(server.address, "GET", &other_version, "", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (400, BAD_REQUEST));
    assert_eq!(server.told(&poller.sid), []);
}

#[tokio::test]
async fn an_octet_stream_post_closes_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let kind = "Content-Type: application/octet-stream\r\n";
    let reply = request(server.address, "POST", &poller.path(), kind, "4a").await;
    assert_eq!((reply.status, reply.body.as_str()), (400, BAD_REQUEST));
    assert_eq!(poller.get().await.status, 400);
}

#[tokio::test]
async fn a_second_get_closes_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let first = hold_get(&server, &poller).await;
    let second = poller.get().await;
    assert_eq!((second.status, second.body.as_str()), (400, BAD_REQUEST));
    assert_eq!(read_reply(first).await.body, "1");
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportError
    );
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
}

#[tokio::test]
async fn a_second_post_closes_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut first = send_request(
        server.address,
        "POST",
        &poller.path(),
        "Content-Length: 9\r\nExpect: 100-continue\r\n",
        "",
    )
    .await;
    // The interim answer comes when the body is asked for, so the first POST is surely under way.
    let mut interim = [0; 25];
    soon(
        "the interim answer",
        tokio::io::AsyncReadExt::read_exact(&mut first, &mut interim),
    )
    .await
    .unwrap();
    let second = poller.post("4b").await;
    assert_eq!((second.status, second.body.as_str()), (400, BAD_REQUEST));
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportError
    );
    assert_eq!(
        read_reply(first).await.status,
        400,
        "the first POST need not wait for its body"
    );
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
    assert_eq!(server.texts(&poller.sid), [""; 0]);
}

#[tokio::test]
async fn a_cancelled_get_closes_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    drop(hold_get(&server, &poller).await);
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportError
    );
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
}

#[tokio::test]
async fn a_cancelled_post_closes_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let mut post = send_request(
        server.address,
        "POST",
        &poller.path(),
        "Content-Length: 100\r\n",
        "",
    )
    .await;
    post.write_all(b"4half").await.unwrap();
    drop(post);
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportError
    );
    assert_eq!(server.texts(&poller.sid), [""; 0]);
}

#[tokio::test]
async fn an_invalid_packet_closes_the_session() {
    let server = Server::echo(quiet()).await;
    for body in ["abc", "4a\u{1e}abc\u{1e}4b", "b!!", "7"] {
        let poller = Poller::open(server.address).await;
        assert_eq!(poller.post(body).await.status, 400, "{body}");
        assert_eq!(
            server.reason(&poller.sid).await,
            CloseReason::ParseError,
            "{body}"
        );
        assert_eq!(poller.get().await.status, 400, "{body}");
        assert!(
            server.texts(&poller.sid).iter().all(|text| text == "a"),
            "what follows is not read"
        );
    }
}

#[tokio::test]
async fn a_ping_from_the_client_is_a_transport_error() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    poller.post("2").await;
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportError
    );
}

#[tokio::test]
async fn a_pong_that_nobody_asked_for_is_ignored() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    assert_eq!(poller.post("3\u{1e}6\u{1e}4a").await.body, "ok");
    assert_eq!(poller.get().await.body, "4a");
}

#[tokio::test]
async fn a_close_packet_releases_the_get_and_ends_the_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let get = hold_get(&server, &poller).await;
    let reply = poller.post("1").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    assert_eq!(read_reply(get).await.body, "6");
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportClose
    );
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
    assert_eq!(poller.post("4a").await.body, UNKNOWN_SID);
}

#[tokio::test]
async fn a_pause_holds_the_rest_of_the_post_and_its_answer() {
    let server = Server::start(quiet(), |_, message| match message {
        Message::Text(text) if text.as_str() == "pause" => Flow::Pause,
        _ => Flow::Continue,
    })
    .await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    let post = send_request(
        server.address,
        "POST",
        &poller.path(),
        "",
        "4pause\u{1e}4b\u{1e}4pause\u{1e}4d",
    )
    .await;
    eventually("the first pause", || {
        server.engine.counters().pauses.get() == 1
    })
    .await;
    assert_eq!(server.texts(&poller.sid), ["pause"]);
    session.resume();
    eventually("the second pause", || {
        server.engine.counters().pauses.get() == 2
    })
    .await;
    assert_eq!(server.texts(&poller.sid), ["pause", "b", "pause"]);
    let mut post = post;
    let mut byte = [0];
    let unanswered = tokio::time::timeout(Duration::from_millis(50), post.peek(&mut byte)).await;
    assert!(unanswered.is_err(), "the answer waits");
    session.resume();
    assert_eq!(
        read_reply(std::mem::replace(&mut post, poller.begin_get().await))
            .await
            .body,
        "ok"
    );
    assert_eq!(server.texts(&poller.sid), ["pause", "b", "pause", "d"]);
}

#[tokio::test]
async fn a_resume_that_comes_before_the_pause_counts() {
    let server = Server::start(quiet(), |session, _| {
        session.resume();
        Flow::Pause
    })
    .await;
    let poller = Poller::open(server.address).await;
    assert_eq!(poller.post("4a\u{1e}4b").await.body, "ok");
    assert_eq!(server.texts(&poller.sid), ["a", "b"]);
}

#[tokio::test]
async fn a_close_during_a_pause_answers_the_post() {
    let server = Server::start(quiet(), |_, _| Flow::Pause).await;
    let poller = Poller::open(server.address).await;
    let post = send_request(server.address, "POST", &poller.path(), "", "4a\u{1e}4b").await;
    eventually("the pause", || server.engine.counters().pauses.get() == 1).await;
    server.session(&poller.sid).close(CloseReason::ForcedClose);
    read_reply(post).await;
    assert_eq!(server.reason(&poller.sid).await, CloseReason::ForcedClose);
    assert_eq!(server.texts(&poller.sid), ["a"]);
}

#[tokio::test]
async fn the_server_closes_by_the_waiting_get() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let get = hold_get(&server, &poller).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text("bye")]).unwrap();
    session.close(CloseReason::ForcedServerClose);
    // Nothing is awaited between the two, so on this one thread the GET finds the session closed. In one answer with the
    // close packet the message would be lost on the official client.
    assert_eq!(read_reply(get).await.body, "6");
    assert_eq!(poller.get().await.body, "4bye");
    assert_eq!(poller.get().await.body, "1");
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::ForcedServerClose
    );
}

#[tokio::test]
async fn the_server_closes_by_the_next_get() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    session.send(&[Frame::text("bye")]).unwrap();
    session.close(CloseReason::ForcedClose);
    assert!(session.is_closed());
    assert_eq!(server.reason(&poller.sid).await, CloseReason::ForcedClose);
    assert_eq!(poller.post("4a").await.body, UNKNOWN_SID);
    assert_eq!(poller.get().await.body, "4bye");
    assert_eq!(poller.get().await.body, "1");
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
}

#[tokio::test]
async fn what_was_queued_survives_a_close_after_flush_in_slices() {
    let server = Server::silent(Config {
        max_payload: 200,
        ..quiet()
    })
    .await;
    let poller = Poller::open(server.address).await;
    let session = server.session(&poller.sid);
    let frames: Vec<_> = (0..9)
        .map(|number| Frame::text(&format!("{number}{}", "x".repeat(60))))
        .collect();
    session.send(&frames).unwrap();
    session.close_after_flush(CloseReason::ServerShuttingDown, Duration::from_secs(10));
    let mut packets = Vec::new();
    loop {
        let reply = poller.get().await;
        assert_eq!(reply.status, 200);
        packets.extend(
            reply
                .body
                .split('\u{1e}')
                .map(|packet| packet[..packet.len().min(2)].to_owned()),
        );
        if packets.last().is_some_and(|packet| packet == "1") {
            break;
        }
    }
    assert_eq!(packets.concat(), "4041424344454647481");
}

#[tokio::test]
async fn a_get_and_a_post_go_on_side_by_side() {
    let server = Server::echo(quiet()).await;
    let poller = Arc::new(Poller::open(server.address).await);
    for round in 0..100 {
        let get = poller.begin_get().await;
        let post = poller.post(&format!("4{round}")).await;
        assert_eq!(post.status, 200);
        assert_eq!(read_reply(get).await.body, format!("4{round}"));
    }
}

#[tokio::test]
async fn a_close_packet_that_overtakes_the_get_still_releases_it() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let post = send_request(server.address, "POST", &poller.path(), "", "1").await;
    assert_eq!(poller.get().await.body, "6");
    assert_eq!(read_reply(post).await.body, "ok");
    assert_eq!(
        server.reason(&poller.sid).await,
        CloseReason::TransportClose
    );
    assert_eq!(poller.get().await.body, UNKNOWN_SID);
}
