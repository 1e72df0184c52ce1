//! A Socket.IO client at packet level. It reads only when it is asked to: what it has not read when it is cut, it never got.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use chatcluster_socketio::Offset;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Resolves when a condition holds that nobody announces, such as a counter.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// What the server sent after CONNECT, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Event {
        name: String,
        arg: Value,
        position: Option<u64>,
    },
    Ack(u64, Value),
    Disconnected,
}

/// What a client takes with it to its next connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carried {
    pub(crate) sid: String,
    pub(crate) pid: String,
    pub(crate) offset: Option<String>,
}

pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
    pub(crate) carried: Carried,
    pub(crate) seen: Vec<Seen>,
    position: u64,
    next_id: u64,
    is_closed: bool,
}

impl Client {
    /// Connects as somebody new.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::open(address, None, None).await
    }

    /// Connects with the session that an earlier connection had; the answer may be another session.
    pub(crate) async fn resume(address: SocketAddr, carried: &Carried) -> Self {
        Self::open(address, Some(carried), None).await
    }

    /// Connects; `buffer` bounds what the kernel holds while the client does not read.
    pub(crate) async fn open(
        address: SocketAddr,
        carried: Option<&Carried>,
        buffer: Option<u32>,
    ) -> Self {
        within("a connection", async {
            let socket = TcpSocket::new_v4().expect("a socket");
            if let Some(bytes) = buffer {
                socket.set_recv_buffer_size(bytes).expect("a TCP option");
            }
            let tcp = socket.connect(address).await.expect("the node listens");
            tcp.set_nodelay(true).expect("a TCP option");
            let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
            let (stream, _) = client_async(url, tcp).await.expect("a WebSocket");
            let mut client = Self {
                stream,
                carried: carried.cloned().unwrap_or_default(),
                seen: Vec::new(),
                position: 0,
                next_id: 0,
                is_closed: false,
            };
            client.join_main(carried).await;
            client
        })
        .await
    }

    /// Knocks, and returns why it was not let in.
    pub(crate) async fn refused(address: SocketAddr, auth: Value) -> Value {
        let mut client = Self::at_the_door(address).await;
        client.send(format!("40{auth}")).await;
        loop {
            let text = client.next_text().await.expect("an answer to CONNECT");
            if let Some(reason) = text.strip_prefix("44") {
                return serde_json::from_str(reason).expect("JSON");
            }
        }
    }

    /// Knocks, and waits for the end of the connection: nobody answers.
    pub(crate) async fn never_answered(address: SocketAddr) {
        let mut client = Self::at_the_door(address).await;
        client.send("40".to_owned()).await;
        while let Some(text) = client.next_text().await {
            assert!(text.starts_with('0') || text == "2", "an answer: {text}");
            if text == "2" {
                client.send("3".to_owned()).await;
            }
        }
    }

    /// A connection that has not asked for anything yet.
    async fn at_the_door(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.expect("the node listens");
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (stream, _) = client_async(url, tcp).await.expect("a WebSocket");
        Self {
            stream,
            carried: Carried::default(),
            seen: Vec::new(),
            position: 0,
            next_id: 0,
            is_closed: false,
        }
    }

    async fn join_main(&mut self, carried: Option<&Carried>) {
        let mut auth = json!({});
        if let Some(carried) = carried {
            auth["pid"] = carried.pid.clone().into();
            if let Some(offset) = &carried.offset {
                auth["offset"] = offset.clone().into();
            }
        }
        self.send(format!("40{auth}")).await;
        loop {
            let text = self.next_text().await.expect("an answer to CONNECT");
            if let Some(answer) = text.strip_prefix("40") {
                let answer: Value = serde_json::from_str(answer).expect("JSON");
                let field = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
                (self.carried.sid, self.carried.pid) = (field("sid"), field("pid"));
                if carried.is_some_and(|c| c.pid != self.carried.pid) {
                    self.carried.offset = None;
                }
                return;
            }
            assert!(
                text.starts_with('0') || text == "2",
                "before CONNECT was answered: {text}"
            );
        }
    }

    /// True if this connection has the session that was asked for.
    pub(crate) fn has_recovered(&self, carried: &Carried) -> bool {
        self.carried.pid == carried.pid && self.carried.sid == carried.sid
    }

    // --- sending ---

    pub(crate) async fn send(&mut self, text: String) {
        // A connection that the server has closed takes nothing more; reading tells.
        let _closed = self.stream.send(Message::text(text)).await;
    }

    /// Emits an event with one attachment.
    pub(crate) async fn send_binary(&mut self, event: &str) {
        let header = json!([event, { "_placeholder": true, "num": 0 }]);
        self.send(format!("451-{header}")).await;
        let _closed = self.stream.send(Message::binary(vec![1, 2, 3])).await;
    }

    /// Emits and does not wait; the acknowledgement comes with this id.
    pub(crate) async fn emit(&mut self, event: &str, arg: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(format!("42{id}{}", json!([event, arg]))).await;
        id
    }

    /// Emits and waits for the acknowledgement.
    pub(crate) async fn ask(&mut self, event: &str, arg: &Value) -> Value {
        let id = self.emit(event, arg).await;
        let from = self.seen.len();
        let is_answer = |seen: &Seen| matches!(seen, Seen::Ack(acked, _) if *acked == id);
        let at = self.read_until(event, from, is_answer).await;
        match &self.seen[at] {
            Seen::Ack(_, answer) => answer.clone(),
            other => unreachable!("{other:?} was found as an acknowledgement"),
        }
    }

    /// Leaves for good: the session ends.
    pub(crate) async fn disconnect(mut self) -> Vec<Seen> {
        self.send("41".to_owned()).await;
        self.read_to_end(true).await;
        self.seen
    }

    /// Leaves the namespace and joins it anew, on the same connection.
    pub(crate) async fn rejoin(&mut self) {
        self.send("41".to_owned()).await;
        self.join_main(None).await;
    }

    /// Sends CONNECT once more; what comes of it is read elsewhere.
    pub(crate) async fn knock(&mut self) {
        self.send("41".to_owned()).await;
        self.send("40{}".to_owned()).await;
    }

    // --- receiving ---

    /// Reads until something fits, at `from` or later among what was seen; returns where it is.
    pub(crate) async fn read_until(
        &mut self,
        what: &str,
        from: usize,
        fits: impl Fn(&Seen) -> bool,
    ) -> usize {
        within(what, async {
            let mut from = from;
            loop {
                if let Some(at) = self.seen[from..].iter().position(&fits) {
                    return from + at;
                }
                from = self.seen.len();
                assert!(
                    self.read().await,
                    "the connection ended before {what}; at last {:?}",
                    self.seen.last()
                );
            }
        })
        .await
    }

    /// Reads what has come already.
    pub(crate) fn read_available(&mut self) {
        while self.read().now_or_never() == Some(true) {}
    }

    /// Reads until the server closes; `closes` sends the closing handshake itself first.
    pub(crate) async fn read_to_end(&mut self, closes: bool) {
        within("the end of a connection", async {
            if closes {
                let _closed = self.stream.send(Message::Close(None)).await;
            }
            while self.read().await {}
        })
        .await;
    }

    /// Reads one message; false if the connection has ended.
    async fn read(&mut self) -> bool {
        let Some(text) = self.next_text().await else {
            return false;
        };
        if text == "41" {
            self.seen.push(Seen::Disconnected);
        } else if let Some(json) = text.strip_prefix("42") {
            self.on_event(json);
        } else if let Some(rest) = text.strip_prefix("43") {
            let (id, list) = rest.split_at(rest.find('[').expect("an argument list"));
            let list: Vec<Value> = serde_json::from_str(list).expect("JSON");
            let answer = list.into_iter().next().unwrap_or_default();
            self.seen
                .push(Seen::Ack(id.parse().expect("an id"), answer));
        } else if text == "2" {
            self.send("3".to_owned()).await;
        } else {
            panic!("not expected by any test: {text}");
        }
        true
    }

    fn on_event(&mut self, json: &str) {
        let mut list: Vec<Value> = serde_json::from_str(json).expect("an event");
        let last = list.last().and_then(Value::as_str);
        let offset = last.and_then(|text| Some((text.to_owned(), text.parse::<Offset>().ok()?)));
        let position = offset.map(|(text, offset)| {
            assert!(
                offset.position >= self.position,
                "positions fell within one connection"
            );
            self.position = offset.position;
            self.carried.offset = Some(text);
            list.pop();
            offset.position
        });
        let mut list = list.into_iter();
        let name = list.next().and_then(|n| n.as_str().map(str::to_owned));
        self.seen.push(Seen::Event {
            name: name.expect("a name"),
            arg: list.next().unwrap_or_default(),
            position,
        });
    }

    async fn next_text(&mut self) -> Option<String> {
        while !self.is_closed {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(_)) => {}
                Some(Err(Error::Capacity(error))) => panic!("{error}"),
                Some(Err(_)) | None => self.is_closed = true,
            }
        }
        None
    }

    /// The first arguments of the events of this name.
    pub(crate) fn args_of(&self, event: &str) -> Vec<Value> {
        let of_event = |seen: &Seen| match seen {
            Seen::Event { name, arg, .. } if name == event => Some(arg.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(of_event).collect()
    }
}
