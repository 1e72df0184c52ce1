//! The engine below another HTTP server, on connections that are no TCP: here pipes in memory, elsewhere TLS.

use std::net::{Ipv4Addr, SocketAddr};

use chatcluster_engineio::{CloseReason, Engine};
use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::{Poller, UPGRADE_HEADERS, WEBSOCKET, masked, sid_of};
use crate::fixture::{Server, quiet, soon};

/// Less than an answer, so that writes wait for reads.
const PIPE_BYTES: usize = 64;

/// A connection to the engine that is served by plain hyper.
fn connect(engine: &Engine) -> DuplexStream {
    let (client, server) = duplex(PIPE_BYTES);
    let connection = http1::Builder::new()
        .serve_connection(
            TokioIo::new(server),
            TowerToHyperService::new(engine.service()),
        )
        .with_upgrades();
    tokio::spawn(connection);
    client
}

async fn websocket(engine: &Engine, path: &str) -> WebSocketStream<DuplexStream> {
    let connecting = client_async(format!("ws://test{path}"), connect(engine));
    soon("a WebSocket", connecting).await.unwrap().0
}

async fn text(ws: &mut WebSocketStream<DuplexStream>) -> String {
    match soon("a message", ws.next()).await {
        Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
        other => panic!("no text message: {other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_session_works() {
    let server = Server::echo(quiet()).await;
    let mut ws = websocket(&server.engine, WEBSOCKET).await;
    let sid = sid_of(&text(&mut ws).await);
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    assert_eq!(
        server.session(&sid).handshake().remote_addr(),
        unknown,
        "nobody said where the request came from"
    );
    let long = format!("4{}", "x".repeat(100_000));
    ws.send(Message::text(long.as_str())).await.unwrap();
    assert!(text(&mut ws).await == long);
    ws.close(None).await.unwrap();
    assert_eq!(server.reason(&sid).await, CloseReason::TransportClose);
}

#[tokio::test]
async fn what_came_with_the_request_is_not_lost() {
    let server = Server::silent(quiet()).await;
    let mut stream = connect(&server.engine);
    let head = format!("GET {WEBSOCKET} HTTP/1.1\r\nHost: test\r\n{UPGRADE_HEADERS}\r\n");
    let wire = [head.as_bytes(), &masked(0x81, b"4early")].concat();
    let asking = stream.write_all(&wire);
    soon("room for the request", asking).await.unwrap();
    let mut answer = Vec::new();
    let sid = loop {
        answer.push(soon("an answer", stream.read_u8()).await.unwrap());
        if answer.ends_with(b"}") {
            let packet = answer
                .windows(8)
                .position(|at| at == b"0{\"sid\":")
                .unwrap();
            break sid_of(std::str::from_utf8(&answer[packet..]).unwrap());
        }
    };
    server.message_count(&sid, 1).await;
    assert_eq!(server.texts(&sid), ["early"]);
}

#[tokio::test]
async fn a_polling_session_is_upgraded_and_a_second_websocket_is_closed() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let path = format!("{WEBSOCKET}&sid={}", poller.sid);
    let mut ws = websocket(&server.engine, &path).await;
    ws.send(Message::text("2probe")).await.unwrap();
    assert_eq!(text(&mut ws).await, "3probe");
    let mut surplus = websocket(&server.engine, &path).await;
    let refused = soon("the end of the second", surplus.next()).await;
    assert!(
        matches!(&refused, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1000),
        "{refused:?}"
    );
    ws.send(Message::text("5")).await.unwrap();
    ws.send(Message::text("4hello")).await.unwrap();
    assert_eq!(text(&mut ws).await, "4hello");
}
