//! A Socket.IO 5 client at packet level: it keeps all that it receives in order, and can do what a real one never would.

mod link;

use std::net::SocketAddr;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::packet::{Event, Received, write};
use crate::wait::within;
use link::Link;

/// What a client takes from one connection to the next.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// Its socket id.
    pub sid: String,
    /// Its private id.
    pub pid: Option<String>,
    /// The last offset that it saw.
    pub offset: Option<String>,
    /// All that it received on that connection.
    pub received: Vec<Received>,
}

impl Carried {
    /// The events among what it received, of this name.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Event> {
        named(&self.received, name)
    }
}

/// A connection that is open and dead: the server cannot tell. Dropping it closes it.
pub struct Silent(#[expect(dead_code, reason = "held, so that the connection stays open")] Link);

/// How to connect.
#[derive(Debug, Clone)]
pub struct Builder {
    address: SocketAddr,
    namespace: String,
    auth: Map<String, Value>,
    query: String,
    receive_buffer: Option<u32>,
}

impl Builder {
    /// The namespace that [`Client::sid`] speaks of.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Adds a field to the auth payload.
    #[must_use]
    pub fn auth(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.auth.insert(field.to_owned(), value.into());
        self
    }

    /// Asks for the session of an earlier connection.
    #[must_use]
    pub fn resume(mut self, carried: &Carried) -> Self {
        for (field, value) in [("pid", &carried.pid), ("offset", &carried.offset)] {
            if let Some(value) = value {
                self.auth.insert(field.to_owned(), value.as_str().into());
            }
        }
        self
    }

    /// Adds to the URL's query.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        self.query = format!("&{query}");
        self
    }

    /// Bytes that the kernel may hold for a client that does not read.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Opens the connection, and joins no namespace yet.
    pub async fn open(self) -> Client {
        let link = Link::open(self.address, &self.query, self.receive_buffer);
        let link = within("a connection opens", link).await;
        Client {
            link,
            namespace: self.namespace,
            next_id: 0,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// What the server said when it refused.
    pub async fn try_connect(self) -> Result<Client, Value> {
        let (namespace, auth) = (self.namespace.clone(), self.auth.clone());
        let client = self.open().await;
        client.join(&namespace, &Value::Object(auth)).await?;
        Ok(client)
    }

    /// Connects.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn connect(self) -> Client {
        self.try_connect()
            .await
            .unwrap_or_else(|error| panic!("the client was refused: {error}"))
    }
}

/// A client.
pub struct Client {
    link: Link,
    namespace: String,
    next_id: u64,
}

impl Client {
    /// Starts to say how to connect.
    #[must_use]
    pub fn builder(address: SocketAddr) -> Builder {
        Builder {
            address,
            namespace: "/".to_owned(),
            auth: Map::new(),
            query: String::new(),
            receive_buffer: None,
        }
    }

    /// Connects with nothing special.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::builder(address).connect().await
    }

    /// Connects as the client that had this session.
    pub async fn resume(address: SocketAddr, carried: &Carried) -> Self {
        Self::builder(address).resume(carried).connect().await
    }

    /// Joins a namespace on this connection.
    ///
    /// # Errors
    /// What the server said when it refused.
    pub async fn join(&self, namespace: &str, auth: &Value) -> Result<Value, Value> {
        let before = self.link.look(|state| state.received.len());
        let text = write(b'0', namespace, None, auth, 0);
        self.link.send(text, Vec::new()).await;
        self.wait("an answer to CONNECT", |received| {
            received[before..].iter().find_map(|r| match r {
                Received::Connected(name, data) if name == namespace => Some(Ok(data.clone())),
                Received::Refused(name, data) if name == namespace => Some(Err(data.clone())),
                _ => None,
            })
        })
        .await
    }

    fn connected(&self, field: &str) -> Option<String> {
        self.link.look(|state| {
            let data = state.received.iter().rev().find_map(|r| match r {
                Received::Connected(name, data) if *name == self.namespace => Some(data),
                _ => None,
            })?;
            data.get(field)?.as_str().map(str::to_owned)
        })
    }

    /// Its socket id.
    #[must_use]
    pub fn sid(&self) -> String {
        self.connected("sid").expect("CONNECT gives a sid")
    }

    /// Its private id, with recovery.
    #[must_use]
    pub fn pid(&self) -> Option<String> {
        self.connected("pid")
    }

    /// True if it got back the session that it had.
    #[must_use]
    pub fn has_recovered(&self, carried: &Carried) -> bool {
        self.pid().is_some() && self.pid() == carried.pid && self.sid() == carried.sid
    }

    // --- sending ---

    /// Emits an event.
    pub async fn emit(&self, event: &str, args: &[Value]) {
        self.send_event(event, args, None, Vec::new()).await;
    }

    /// Emits an event with an attachment behind the other arguments.
    pub async fn emit_binary(&self, event: &str, args: &[Value], attachment: Bytes) {
        let placeholder = json!({"_placeholder": true, "num": 0});
        let args = [args, &[placeholder]].concat();
        self.send_event(event, &args, None, vec![attachment]).await;
    }

    /// Emits an event that asks for an acknowledgement, and returns the acknowledgement's id.
    pub async fn emit_with_id(&mut self, event: &str, args: &[Value]) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_event(event, args, Some(id), Vec::new()).await;
        id
    }

    /// Emits an event and waits for its acknowledgement.
    pub async fn ask(&mut self, event: &str, args: &[Value]) -> Vec<Value> {
        let id = self.emit_with_id(event, args).await;
        self.ack(id).await
    }

    /// Waits for the acknowledgement with this id.
    pub async fn ack(&self, id: u64) -> Vec<Value> {
        self.wait("an acknowledgement", |received| {
            received.iter().find_map(|r| match r {
                Received::Ack(acked, args, _) if *acked == id => Some(args.clone()),
                _ => None,
            })
        })
        .await
    }

    async fn send_event(&self, event: &str, args: &[Value], id: Option<u64>, binary: Vec<Bytes>) {
        let list = Value::Array([&[Value::from(event)], args].concat());
        let kind = if binary.is_empty() { b'2' } else { b'5' };
        let text = write(kind, &self.namespace, id, &list, binary.len());
        self.link.send(text, binary).await;
    }

    /// Acknowledges an event of the server.
    ///
    /// # Panics
    /// When the event asked for no acknowledgement.
    pub async fn answer(&self, event: &Event, args: &[Value]) {
        let id = event.id.expect("the event asks for an acknowledgement");
        let list = Value::Array(args.to_vec());
        let text = write(b'3', &event.namespace, Some(id), &list, 0);
        self.link.send(text, Vec::new()).await;
    }

    /// Acknowledges an event of the server with an attachment.
    ///
    /// # Panics
    /// When the event asked for no acknowledgement.
    pub async fn answer_binary(&self, event: &Event, attachment: Bytes) {
        let id = event.id.expect("the event asks for an acknowledgement");
        let list = json!([{"_placeholder": true, "num": 0}]);
        let text = write(b'6', &event.namespace, Some(id), &list, 1);
        self.link.send(text, vec![attachment]).await;
    }

    /// Leaves a namespace for good.
    pub async fn leave(&self, namespace: &str) {
        let text = write(b'1', namespace, None, &Value::Null, 0);
        self.link.send(text, Vec::new()).await;
    }

    /// Sends an Engine.IO packet as it is.
    pub async fn send_raw(&self, text: &str) {
        self.link.send(text.to_owned(), Vec::new()).await;
    }

    /// Closes the connection behind all that was sent, as a client does that ends; resolves when the server has too.
    pub async fn finish(self) {
        self.link.finish().await;
        self.closed().await;
    }

    // --- receiving ---

    /// Waits until what was received so far gives an answer.
    ///
    /// # Panics
    /// When it gives none within the deadline.
    pub async fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Received]) -> Option<T>) -> T {
        within(what, self.link.wait(|state| find(&state.received))).await
    }

    /// Waits for an event of this name, the first that was received.
    pub async fn event(&self, name: &str) -> Event {
        self.nth_event(name, 0).await
    }

    /// Waits for the event of this name that follows `before` others of it.
    pub async fn nth_event(&self, name: &str, before: usize) -> Event {
        self.wait(&format!("event {name:?}, number {before}"), |received| {
            let mut events = received.iter().filter_map(Received::event);
            events
                .by_ref()
                .filter(|e| e.name == name)
                .nth(before)
                .cloned()
        })
        .await
    }

    /// The events of this name that were received so far.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Event> {
        self.link.look(|state| named(&state.received, name))
    }

    /// All that was received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.link.look(|state| state.received.clone())
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) {
        within(
            "the connection is closed",
            self.link.wait(|s| s.is_closed.then_some(())),
        )
        .await;
    }

    /// True once the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.look(|state| state.is_closed)
    }

    /// Stops reading: what the server sends from now on waits in the kernel.
    pub async fn stop_reading(&mut self) {
        self.link.stop_reading().await;
    }

    /// Goes on reading.
    pub fn resume_reading(&mut self) {
        self.link.resume_reading();
    }

    // --- going ---

    /// What it would take to another connection now.
    #[must_use]
    pub fn carried(&self) -> Carried {
        Carried {
            sid: self.connected("sid").unwrap_or_default(),
            pid: self.pid(),
            offset: self.link.look(|s| s.offsets.get(&self.namespace).cloned()),
            received: self.received(),
        }
    }

    /// Cuts the TCP connection without a word.
    pub async fn cut(mut self) -> Carried {
        self.link.stop_reading().await;
        self.carried()
    }

    /// Falls silent: nothing is read or sent any more, and the connection stays open.
    pub async fn fall_silent(mut self) -> (Carried, Silent) {
        self.link.stop_reading().await;
        (self.carried(), Silent(self.link))
    }
}

fn named(received: &[Received], name: &str) -> Vec<Event> {
    let events = received.iter().filter_map(Received::event);
    events.filter(|event| event.name == name).cloned().collect()
}
