//! The connection under a client: a task that reads, one that writes, and all that was read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::packet::{Incoming, Received};

type Stream = WebSocketStream<TcpStream>;

/// Packets that may wait to be written: more makes the sender wait, as a full connection does.
const OUTBOX: usize = 64;

/// What the reader knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) received: Vec<Received>,
    /// What a real client would call its last offset, by namespace.
    pub(super) offsets: HashMap<String, String>,
    pub(super) is_closed: bool,
}

struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changes.send_replace(());
    }
}

pub(super) struct Link {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Vec<Message>>,
    reader: Option<JoinHandle<Option<SplitStream<Stream>>>>,
    /// Stops the reader, which then gives its half back unless the connection has ended.
    stop: watch::Sender<bool>,
    /// The reading half while nobody reads.
    idle: Option<SplitStream<Stream>>,
    writer: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.abort();
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Link {
    pub(super) async fn open(address: SocketAddr, query: &str, buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer size");
        }
        let stream = socket.connect(address).await.expect("the node listens");
        stream.set_nodelay(true).expect("a TCP option");
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
        let (stream, _) = client_async(url, stream).await.expect("a WebSocket");
        let (sink, stream) = stream.split();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        });
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        let mut link = Self {
            shared,
            outbox,
            reader: None,
            stop: watch::Sender::new(false),
            idle: Some(stream),
            writer: tokio::spawn(write(sink, waiting)),
        };
        link.resume_reading();
        link
    }

    pub(super) async fn send(&self, text: String, attachments: Vec<Bytes>) {
        let mut messages = vec![Message::text(text)];
        messages.extend(attachments.into_iter().map(Message::binary));
        // A connection that has ended takes nothing more, as in real life.
        let _ended = self.outbox.send(messages).await;
    }

    pub(super) async fn finish(&self) {
        let _ended = self.outbox.send(vec![Message::Close(None)]).await;
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.lock())
    }

    pub(super) async fn wait<T>(&self, mut find: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.look(&mut find) {
                return found;
            }
            changes.changed().await.expect("the link holds the sender");
        }
    }

    pub(super) async fn stop_reading(&mut self) {
        self.stop.send_replace(true);
        if let Some(reader) = self.reader.take() {
            self.idle = reader.await.ok().flatten();
        }
    }

    pub(super) fn resume_reading(&mut self) {
        self.stop.send_replace(false);
        if let Some(stream) = self.idle.take() {
            let outbox = self.outbox.clone();
            let stopped = self.stop.subscribe();
            let (writer, shared) = (self.writer.abort_handle(), self.shared.clone());
            self.reader = Some(tokio::spawn(async move {
                let stream = read(stream, &shared, outbox, stopped).await;
                if stream.is_none() {
                    // Both halves go, and with them the socket: a client closes what the server has closed.
                    writer.abort();
                    shared.change(|state| state.is_closed = true);
                }
                stream
            }));
        }
    }
}

async fn write(mut sink: SplitSink<Stream, Message>, mut outbox: mpsc::Receiver<Vec<Message>>) {
    while let Some(messages) = outbox.recv().await {
        for message in messages {
            if sink.send(message).await.is_err() {
                return;
            }
        }
    }
}

async fn read(
    mut stream: SplitStream<Stream>,
    shared: &Shared,
    outbox: mpsc::Sender<Vec<Message>>,
    mut stopped: watch::Receiver<bool>,
) -> Option<SplitStream<Stream>> {
    let mut partial: Option<Incoming> = None;
    loop {
        let message = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return Some(stream),
            message = stream.next() => message,
        };
        let incoming = match message {
            Some(Ok(Message::Text(text))) => match text.as_bytes().first() {
                Some(b'2') => {
                    // Not waited for: a writer that is stuck must not stop the reading.
                    let _full = outbox.try_send(vec![Message::text("3")]);
                    None
                }
                Some(b'4') => Some(Incoming::parse(&text[1..]).expect("a Socket.IO packet")),
                _ => None,
            },
            Some(Ok(Message::Binary(bytes))) => {
                let mut packet = partial.take().expect("a packet that waits for attachments");
                packet.attachments.push(bytes);
                packet.missing -= 1;
                Some(packet)
            }
            Some(Ok(_)) => None,
            Some(Err(_)) | None => return None,
        };
        match incoming {
            Some(packet) if packet.missing > 0 => partial = Some(packet),
            Some(packet) => keep(shared, packet.finish().expect("a well-formed packet")),
            None => {}
        }
    }
}

fn keep(shared: &Shared, received: Received) {
    shared.change(|state| {
        if let Some(event) = received.event()
            && let Some(trailing) = &event.trailing
        {
            state
                .offsets
                .insert(event.namespace.clone(), trailing.clone());
        }
        state.received.push(received);
    });
}
