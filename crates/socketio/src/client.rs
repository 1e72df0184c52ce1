//! One connection as Socket.IO sees it: packets in, to the namespaces that it has joined.

mod pace;
mod placeholders;

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use chatcluster_engineio::{CloseReason, Connection, Flow, Message, Session};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::io::Inner;
use crate::packet::{Kind, Packet, Violation};
use crate::socket::inbox::Job;
use crate::socket::{DisconnectReason, Socket};
use pace::Pace;
use placeholders::check_placeholders;

/// A connection must join a namespace in time.
const CONNECT_TIMEOUT: u32 = 1;
/// The attachments of a packet must follow it in time, the same.
const ATTACHMENTS_TIMEOUT: u32 = 2;

pub(crate) struct Client {
    io: Arc<Inner>,
    state: Mutex<State>,
}

struct State {
    joined: SmallVec<[(Arc<str>, Joined); 1]>,
    pace: Pace,
    /// A binary packet whose attachments have not all arrived.
    partial: Option<Box<Partial>>,
    /// A timer for it, or for one before it, has not gone off: timers cannot be taken back, so there is one at most.
    is_timed: bool,
    is_closed: bool,
}

enum Joined {
    /// Middleware is at work.
    Connecting,
    /// Also after the server has disconnected it: what the client had sent by then is dropped, not punished.
    Connected(Arc<Socket>),
}

impl Joined {
    fn has_left(&self) -> bool {
        matches!(self, Self::Connected(socket) if !socket.is_connected())
    }
}

struct Partial {
    since: Instant,
    kind: Kind,
    namespace: Box<str>,
    id: Option<u64>,
    data: Box<str>,
    missing: usize,
    attachments: Vec<Bytes>,
}

impl Client {
    pub(crate) fn open(io: Arc<Inner>, session: &Session) -> Arc<Self> {
        session.set_timeout(io.config().connect_timeout, CONNECT_TIMEOUT);
        Arc::new(Self {
            io,
            state: Mutex::new(State {
                joined: SmallVec::new(),
                pace: Pace::new(Instant::now()),
                partial: None,
                is_timed: false,
                is_closed: false,
            }),
        })
    }

    fn on_text(self: &Arc<Self>, session: &Arc<Session>, text: &str) -> Result<Flow, Ended> {
        let packet = Packet::decode(text)?;
        if self.state.lock().partial.is_some() {
            return Err(Violation::AttachmentExpected.into());
        }
        match packet.kind {
            Kind::Connect => self.on_connect(session, &packet),
            Kind::Disconnect => self.on_disconnect(packet.namespace),
            Kind::Event => self.on_event(packet.namespace, packet.id, packet.data, Vec::new()),
            Kind::Ack => self.on_ack(packet.namespace, packet.id, packet.data, Vec::new()),
            Kind::BinaryEvent | Kind::BinaryAck => self.on_binary_header(session, &packet),
            Kind::ConnectError => Err(Violation::NotForClients.into()),
        }
    }

    fn on_connect(
        self: &Arc<Self>,
        session: &Arc<Session>,
        packet: &Packet<'_>,
    ) -> Result<Flow, Ended> {
        let auth = match packet.data {
            "" => None,
            json => {
                serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json)
                    .map_err(|_| Violation::InvalidPayload)?;
                Some(Box::from(json))
            }
        };
        let namespace: Arc<str> = packet.namespace.into();
        {
            let mut state = self.state.lock();
            let limit = self.io.config().max_connects_per_minute;
            if !state.pace.take(Instant::now(), limit) {
                return Err(Ended::Forced);
            }
            let is_full = state.joined.len() >= self.io.max_namespaces_per_client();
            let entry = state.joined.iter_mut().find(|(name, _)| *name == namespace);
            match entry {
                Some((_, joined)) if joined.has_left() => *joined = Joined::Connecting,
                Some(_) => return Err(Ended::Forced),
                None if is_full => return Err(Ended::Forced),
                None => state.joined.push((namespace.clone(), Joined::Connecting)),
            }
        }
        let connect = self
            .io
            .clone()
            .connect(self.clone(), session.clone(), namespace, auth);
        // Ends with the middleware, which the application writes; the connection's close is noticed when it returns.
        tokio::spawn(connect);
        Ok(Flow::Continue)
    }

    fn on_disconnect(&self, namespace: &str) -> Result<Flow, Ended> {
        if let Some(socket) = self.socket(namespace)? {
            self.forget(namespace);
            let owner = socket.namespace().clone();
            owner.disconnected(&socket, DisconnectReason::ClientNamespaceDisconnect);
        }
        Ok(Flow::Continue)
    }

    fn on_binary_header(&self, session: &Session, packet: &Packet<'_>) -> Result<Flow, Ended> {
        // Nothing is kept for whoever has not connected.
        self.socket(packet.namespace)?;
        let partial = Partial {
            since: Instant::now(),
            kind: packet.kind,
            namespace: packet.namespace.into(),
            id: packet.id,
            data: packet.data.into(),
            missing: packet.attachments,
            attachments: Vec::new(),
        };
        let was_timed = {
            let mut state = self.state.lock();
            state.partial = Some(Box::new(partial));
            std::mem::replace(&mut state.is_timed, true)
        };
        if !was_timed {
            session.set_timeout(self.io.config().connect_timeout, ATTACHMENTS_TIMEOUT);
        }
        Ok(Flow::Continue)
    }

    fn on_attachment(self: &Arc<Self>, attachment: &Bytes) -> Result<Flow, Ended> {
        let complete = {
            let mut state = self.state.lock();
            let partial = state
                .partial
                .as_mut()
                .ok_or(Violation::UnexpectedAttachment)?;
            // Copied: a slice would keep the transport's whole buffer alive.
            partial.attachments.push(Bytes::copy_from_slice(attachment));
            partial.missing -= 1;
            if partial.missing > 0 {
                return Ok(Flow::Continue);
            }
            state.partial.take()
        };
        complete.map_or(Ok(Flow::Continue), |partial| self.on_complete(*partial))
    }

    fn on_complete(self: &Arc<Self>, partial: Partial) -> Result<Flow, Ended> {
        let Partial {
            kind,
            namespace,
            id,
            data,
            attachments,
            missing: _,
            since: _,
        } = partial;
        check_placeholders(&data, attachments.len())?;
        if kind == Kind::BinaryEvent {
            self.on_event(&namespace, id, &data, attachments)
        } else {
            self.on_ack(&namespace, id, &data, attachments)
        }
    }

    fn on_event(
        &self,
        namespace: &str,
        id: Option<u64>,
        data: &str,
        attachments: Vec<Bytes>,
    ) -> Result<Flow, Ended> {
        let (name, arguments) = Arguments::of_event(data, attachments)?;
        let Some(socket) = self.socket(namespace)? else {
            return Ok(Flow::Continue);
        };
        if !socket.is_connected() {
            return Ok(Flow::Continue);
        }
        Ok(socket.on_event(Job {
            name,
            arguments,
            ack_id: id,
        }))
    }

    fn on_ack(
        &self,
        namespace: &str,
        id: Option<u64>,
        data: &str,
        attachments: Vec<Bytes>,
    ) -> Result<Flow, Ended> {
        let arguments = Arguments::of_ack(data, attachments)?;
        let id = id.ok_or(Violation::IdMissing)?;
        if let Some(socket) = self.socket(namespace)? {
            socket.on_ack(id, arguments);
        }
        Ok(Flow::Continue)
    }

    /// The socket in a namespace; `None` after the server has disconnected it. Anything else is against the protocol.
    fn socket(&self, namespace: &str) -> Result<Option<Arc<Socket>>, Ended> {
        let state = self.state.lock();
        match state.joined.iter().find(|(name, _)| &**name == namespace) {
            Some((_, Joined::Connected(socket))) => {
                Ok(socket.is_connected().then(|| socket.clone()))
            }
            Some((_, Joined::Connecting)) | None => Err(Ended::Forced),
        }
    }

    // --- called by the connect that is under way ---

    /// The client is in; false if the connection has ended meanwhile.
    pub(crate) fn joined(&self, namespace: &str, socket: &Arc<Socket>) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        if let Some(entry) = state
            .joined
            .iter_mut()
            .find(|(name, _)| &**name == namespace)
        {
            entry.1 = Joined::Connected(socket.clone());
        }
        true
    }

    /// Its sockets, in all namespaces.
    pub(crate) fn sockets(&self) -> Vec<Arc<Socket>> {
        let state = self.state.lock();
        let sockets = state.joined.iter().filter_map(|(_, joined)| match joined {
            Joined::Connected(socket) if socket.is_connected() => Some(socket.clone()),
            Joined::Connected(_) | Joined::Connecting => None,
        });
        sockets.collect()
    }

    /// The client is not in (any more).
    pub(crate) fn forget(&self, namespace: &str) {
        self.state
            .lock()
            .joined
            .retain(|(name, _)| &**name != namespace);
    }

    /// A CONNECT that is still being worked on counts for nothing: its middleware may never come to an end.
    fn has_joined_nothing(&self) -> bool {
        let state = self.state.lock();
        let mut joined = state.joined.iter();
        !joined.any(|(_, joined)| matches!(joined, Joined::Connected(_)))
    }

    /// Looks at the packet whose attachments are awaited now; if it has time left, the timer is set for the rest of it.
    fn attachments_are_late(&self, session: &Session) -> bool {
        let limit = self.io.config().connect_timeout;
        let mut state = self.state.lock();
        state.is_timed = false;
        let Some(waited) = state.partial.as_ref().map(|p| p.since.elapsed()) else {
            return false;
        };
        let left = limit.saturating_sub(waited);
        if left.is_zero() {
            return true;
        }
        state.is_timed = true;
        drop(state);
        session.set_timeout(left, ATTACHMENTS_TIMEOUT);
        false
    }

    fn end(&self, session: &Session, ended: &Ended) -> Flow {
        match ended {
            Ended::Violation(violation) => {
                self.io.counters().violations.increment();
                tracing::debug!(session.id = %session.id(), %violation, "a packet against the protocol closed its connection");
                session.close(CloseReason::ParseError);
                Flow::Continue
            }
            Ended::Forced => {
                self.io.counters().violations.increment();
                session.close(CloseReason::ForcedServerClose);
                Flow::Continue
            }
        }
    }
}

/// Why a connection cannot go on.
enum Ended {
    Violation(Violation),
    /// A packet that is well-formed but out of place.
    Forced,
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What the transport calls: the client, shared with the connects that are under way.
pub(crate) struct ClientConnection {
    client: Arc<Client>,
    _tracked: Option<Box<dyn Any + Send + Sync>>,
}

impl ClientConnection {
    /// `tracked` lives as long as the connection.
    pub(crate) fn new(client: Arc<Client>, tracked: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self {
            client,
            _tracked: tracked,
        }
    }
}

impl Connection for ClientConnection {
    fn message(&self, session: &Arc<Session>, message: Message) -> Flow {
        let client = &self.client;
        let result = match message {
            Message::Text(text) => client.on_text(session, &text),
            Message::Binary(bytes) => client.on_attachment(&bytes),
        };
        result.unwrap_or_else(|ended| client.end(session, &ended))
    }

    fn closed(&self, _session: &Arc<Session>, reason: CloseReason) {
        let joined = {
            let mut state = self.client.state.lock();
            state.is_closed = true;
            state.partial = None;
            std::mem::take(&mut state.joined)
        };
        for (_, entry) in joined {
            if let Joined::Connected(socket) = entry {
                let namespace = socket.namespace().clone();
                namespace.disconnected(&socket, DisconnectReason::Connection(reason));
            }
        }
    }

    fn timeout(&self, session: &Arc<Session>, token: u32) {
        let is_late = match token {
            CONNECT_TIMEOUT => self.client.has_joined_nothing(),
            ATTACHMENTS_TIMEOUT => self.client.attachments_are_late(session),
            _ => false,
        };
        if is_late {
            session.close(CloseReason::ForcedServerClose);
        }
    }
}
