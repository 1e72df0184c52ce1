//! Clients that can do wrong: raw HTTP and raw WebSocket frames.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::fixture::soon;

/// An HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("a text answer");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }
}

/// Sends a request on a connection of its own and reads the whole answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Reply {
    let stream = send_request(address, method, path, headers, body).await;
    read_reply(stream).await
}

/// Sends a request; the answer is left to read.
pub(crate) async fn send_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> TcpStream {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{length}{headers}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&[head.as_bytes(), body.as_bytes()].concat())
        .await
        .unwrap();
    stream
}

pub(crate) async fn read_reply(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A server that answers before it has read everything may reset the connection behind its answer.
    let end = soon("an answer", stream.read_to_end(&mut bytes)).await;
    assert!(end.is_ok() || !bytes.is_empty(), "{end:?}");
    Reply::parse(&bytes)
}

const POLLING: &str = "/engine.io/?EIO=4&transport=polling";

/// A long-polling client.
#[derive(Clone)]
pub(crate) struct Poller {
    address: SocketAddr,
    pub(crate) sid: String,
}

impl Poller {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let reply = request(address, "GET", POLLING, "", "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Self {
            address,
            sid: sid_of(&reply.body),
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("{POLLING}&sid={}", self.sid)
    }

    pub(crate) async fn get(&self) -> Reply {
        request(self.address, "GET", &self.path(), "", "").await
    }

    /// Begins a GET and leaves its answer to read.
    pub(crate) async fn begin_get(&self) -> TcpStream {
        send_request(self.address, "GET", &self.path(), "", "").await
    }

    pub(crate) async fn post(&self, body: &str) -> Reply {
        request(self.address, "POST", &self.path(), "", body).await
    }

    pub(crate) async fn websocket(&self) -> Ws {
        connect(
            self.address,
            &format!("/engine.io/?EIO=4&transport=websocket&sid={}", self.sid),
        )
        .await
    }
}

/// The sid in a handshake packet.
pub(crate) fn sid_of(packet: &str) -> String {
    let rest = packet
        .strip_prefix("0{\"sid\":\"")
        .unwrap_or_else(|| panic!("no handshake packet: {packet:?}"));
    let (sid, _) = rest.split_once('"').expect("the id ends");
    sid.to_owned()
}

pub(crate) type Ws = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) const WEBSOCKET: &str = "/engine.io/?EIO=4&transport=websocket";

pub(crate) async fn connect(address: SocketAddr, path: &str) -> Ws {
    let connecting = tokio_tungstenite::connect_async(format!("ws://{address}{path}"));
    soon("a WebSocket", connecting)
        .await
        .expect("a WebSocket")
        .0
}

/// A WebSocket session and its sid.
pub(crate) async fn open_websocket(address: SocketAddr) -> (Ws, String) {
    let mut ws = connect(address, WEBSOCKET).await;
    let sid = sid_of(&text(&mut ws).await);
    (ws, sid)
}

/// The next text message.
pub(crate) async fn text(ws: &mut Ws) -> String {
    match soon("a message", ws.next()).await {
        Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
        other => panic!("no text message: {other:?}"),
    }
}

pub(crate) async fn send(ws: &mut Ws, text: &str) {
    ws.send(Message::text(text)).await.unwrap();
}

/// Reads until the server closes; its close code, if it sent one.
pub(crate) async fn close_code(ws: &mut Ws) -> Option<u16> {
    loop {
        match soon("the end of the WebSocket", ws.next()).await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// A WebSocket whose bytes the test writes itself.
pub(crate) struct RawWs {
    pub(crate) stream: TcpStream,
}

pub(crate) const UPGRADE_HEADERS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl RawWs {
    /// Opens a session; `early` is sent together with the request.
    pub(crate) async fn open(address: SocketAddr, early: &[u8]) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {WEBSOCKET} HTTP/1.1\r\nHost: test\r\n{UPGRADE_HEADERS}\r\n");
        stream
            .write_all(&[head.as_bytes(), early].concat())
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&head)
        );
        let mut raw = Self { stream };
        let (first, packet) = raw.frame().await.expect("the handshake packet");
        assert_eq!(first, 0x81);
        let sid = sid_of(std::str::from_utf8(&packet).unwrap());
        (raw, sid)
    }

    /// The next frame: its first byte and its payload. None at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        soon("a frame", self.read_frame()).await.ok()
    }

    async fn read_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await?;
        let length = match self.stream.read_u8().await? {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await?;
        Ok((first, payload))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

/// A client's frame, masked with zeros so that it can be read in a failure.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => wire.push(0x80 | length as u8),
        Ok(length) => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            wire.push(0x80 | 127);
            wire.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    wire.extend_from_slice(&[0; 4]);
    wire.extend_from_slice(payload);
    wire
}

/// Sends a WebSocket's opening request; the answer is left to read.
pub(crate) async fn send_upgrade(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}
