//! One client in one namespace: its id, handlers, rooms, data, and what it is sent.

pub(crate) mod inbox;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chatcluster_engineio::{CloseReason, Handshake, Session, TransportKind};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::ack::{self, AckError};
use crate::arguments::{Arguments, Error};
use crate::broadcast::{Broadcast, Rooms};
use crate::event::{EmitError, Event, text_frame};
use crate::extensions::Extensions;
use crate::handler::{ErasedEvent, EventHandler, OnDisconnect, erase_event};
use crate::member::Held;
use crate::namespace::Namespace;
use crate::packet::{Kind, encode};
use crate::recovery::Claim;
use crate::registry::Slot;
use crate::sid::Sid;

use inbox::Inbox;

/// Acknowledgements that a client may owe; more are refused.
const MAX_PENDING_ACKS: usize = 1 << 16;
/// Not (or no longer) in the registry.
const NO_SLOT: Slot = Slot::MAX;

/// A handle to a socket; cheap to clone.
#[derive(Clone)]
pub struct SocketRef(pub(crate) Arc<Socket>);

impl Deref for SocketRef {
    type Target = Socket;
    fn deref(&self) -> &Socket {
        &self.0
    }
}

impl fmt::Debug for SocketRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id)
            .field("namespace", &self.namespace.path())
            .finish_non_exhaustive()
    }
}

/// Why a socket was disconnected; the text forms are Socket.IO's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The connection ended; the client may come back and recover its session.
    Connection(CloseReason),
    /// The client left the namespace for good.
    ClientNamespaceDisconnect,
    /// The server disconnected it for good.
    ServerNamespaceDisconnect,
}

impl DisconnectReason {
    /// The reason in Socket.IO's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection(reason) => reason.as_str(),
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }

    /// True if the session is kept for the recovery window.
    pub(crate) fn is_recoverable(self) -> bool {
        match self {
            Self::Connection(reason) => reason != CloseReason::ParseError,
            Self::ClientNamespaceDisconnect | Self::ServerNamespaceDisconnect => false,
        }
    }
}

/// One client in one namespace. Handlers get it as [`SocketRef`].
pub struct Socket {
    id: Sid,
    namespace: Arc<Namespace>,
    session: Arc<Session>,
    /// The hold on a recoverable session; `None` without recovery.
    pub(crate) claim: Option<Box<Claim>>,
    identity: Option<Arc<str>>,
    auth: Option<Box<str>>,
    recovered: bool,
    slot: AtomicUsize,
    is_connected: AtomicBool,
    listeners: Mutex<Listeners>,
    data: Mutex<Arc<str>>,
    acks: Mutex<HashMap<u64, oneshot::Sender<Arguments>>>,
    inbox: Mutex<Inbox>,
    extensions: Extensions,
}

#[derive(Default)]
struct Listeners {
    /// Few per socket: a list is smaller than a map, and as fast.
    events: SmallVec<[(Box<str>, Arc<dyn ErasedEvent>); 2]>,
    any: Vec<Arc<dyn ErasedEvent>>,
    disconnect: Option<OnDisconnect>,
}

/// What a connect has found out before there is a socket.
pub(crate) struct Credentials {
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) auth: Option<Box<str>>,
    pub(crate) data: Arc<str>,
    pub(crate) extensions: Extensions,
}

impl Socket {
    pub(crate) fn new(
        id: Sid,
        namespace: Arc<Namespace>,
        session: Arc<Session>,
        credentials: Credentials,
        claim: Option<Box<Claim>>,
        recovered: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            namespace,
            session,
            claim,
            identity: credentials.identity,
            auth: credentials.auth,
            recovered,
            slot: AtomicUsize::new(NO_SLOT),
            is_connected: AtomicBool::new(true),
            listeners: Mutex::default(),
            data: Mutex::new(credentials.data),
            acks: Mutex::default(),
            inbox: Mutex::default(),
            extensions: credentials.extensions,
        })
    }

    // --- who it is ---

    /// The socket's id; also the name of a room that holds just it. A recovered client has the id it had before.
    #[must_use]
    pub fn id(&self) -> Sid {
        self.id
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// True if the client got its session back: id, rooms, `data`, and the events that it missed.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Who a middleware said it is.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// The hash of its private id: the same for a session's whole life, and known to nobody else.
    #[must_use]
    pub fn session_key(&self) -> Option<crate::sid::SessionKey> {
        self.claim.as_ref().map(|claim| claim.key)
    }

    /// The HTTP request that opened the connection.
    #[must_use]
    pub fn handshake(&self) -> &Handshake {
        self.session.handshake()
    }

    /// The transport at this moment.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.session.transport()
    }

    /// The CONNECT's auth payload; `{}` if there was none.
    ///
    /// # Errors
    /// When it does not have the shape of `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Arguments::read_one(self.auth.as_deref().unwrap_or("{}"))
    }

    /// False once it has been disconnected, for whatever reason.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) fn has_offsets(&self) -> bool {
        self.claim.is_some()
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot.load(Ordering::Acquire)
    }

    pub(crate) fn set_slot(&self, slot: Slot) {
        self.slot.store(slot, Ordering::Release);
    }

    pub(crate) fn max_send_queue(&self) -> usize {
        self.namespace.config().engine.max_send_queue
    }

    pub(crate) fn left_rooms_kept(&self) -> Duration {
        let engine = &self.namespace.config().engine;
        engine.ping_interval + engine.ping_timeout
    }

    // --- data ---

    /// A value that this socket's middleware or handlers inserted.
    #[must_use]
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.extensions.get()
    }

    /// Keeps a value with this connection; one per type. Not stored with the session.
    pub fn insert<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        self.extensions.insert(value);
    }

    /// The socket's data, as [`Socket::set_data`] stored it; `None` before that or if it has another shape.
    #[must_use]
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.data_json()).ok()
    }

    pub(crate) fn data_json(&self) -> Arc<str> {
        self.data.lock().clone()
    }

    /// Replaces the socket's data; resolves when the session record with it is stored.
    ///
    /// # Errors
    /// [`EmitError::Encode`] if it cannot be written as JSON.
    pub async fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), EmitError> {
        let json = serde_json::to_string(data).map_err(|e| EmitError::encode("data", e))?;
        *self.data.lock() = json.into();
        self.namespace.persist(self).await;
        Ok(())
    }

    // --- handlers ---

    /// Handles an event. A second handler for the same event replaces the first.
    ///
    /// Handlers of one socket run one at a time, in the order in which the events came; while one waits, acknowledgements
    /// still arrive, so it may wait for its own client's.
    pub fn on<A: 'static>(&self, event: &str, handler: impl EventHandler<A>) {
        let handler = erase_event(handler);
        let mut listeners = self.listeners.lock();
        match listeners
            .events
            .iter_mut()
            .find(|(name, _)| &**name == event)
        {
            Some(entry) => entry.1 = handler,
            None => listeners.events.push((event.into(), handler)),
        }
    }

    /// Stops handling an event.
    pub fn off(&self, event: &str) {
        self.listeners
            .lock()
            .events
            .retain(|(name, _)| &**name != event);
    }

    /// Handles every event, before the event's own handler.
    pub fn on_any<A: 'static>(&self, handler: impl EventHandler<A>) {
        self.listeners.lock().any.push(erase_event(handler));
    }

    /// Called once when the socket is disconnected.
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: FnOnce(SocketRef, DisconnectReason) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler: OnDisconnect =
            Box::new(move |socket, reason| Box::pin(handler(socket, reason)));
        self.listeners.lock().disconnect = Some(handler);
    }

    fn handlers_of(&self, event: &str) -> SmallVec<[Arc<dyn ErasedEvent>; 2]> {
        let listeners = self.listeners.lock();
        let own = listeners.events.iter().find(|(name, _)| &**name == event);
        let own = own.map(|(_, handler)| handler.clone());
        let handler = own.or_else(|| self.namespace.handler_of(event));
        listeners.any.iter().cloned().chain(handler).collect()
    }

    // --- rooms ---

    /// Joins rooms. Resolves when the session record with it is stored: from then on whatever happens to this node,
    /// the client gets what the rooms get.
    pub async fn join(&self, rooms: impl Rooms) {
        self.namespace.join(self, &rooms.into_rooms());
        self.namespace.persist(self).await;
    }

    /// Leaves rooms; resolves when that is stored.
    pub async fn leave(&self, rooms: impl Rooms) {
        self.namespace.leave(self, &rooms.into_rooms());
        self.namespace.persist(self).await;
    }

    /// The rooms it is in, without the one that its id names.
    #[must_use]
    pub fn rooms(&self) -> Vec<Arc<str>> {
        self.namespace.rooms_of(self)
    }

    // --- sending ---

    /// Emits to this client, through the log: a client that recovers gets it too.
    ///
    /// # Errors
    /// [`EmitError`]; the event was then not sent.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.emit_event(Event::new(event, data)?)
    }

    /// As [`Socket::emit`], with an event made before.
    ///
    /// # Errors
    /// As [`Socket::emit`].
    pub fn emit_event(&self, event: Event) -> Result<(), EmitError> {
        self.namespace.unicast(self, event)
    }

    /// Emits to this client only as long as it is connected: the event is not logged and not recovered.
    /// For what the client can ask for again, such as pages of history.
    ///
    /// # Errors
    /// [`EmitError`]; the event was then not sent.
    pub fn emit_unlogged<T: Serialize + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<(), EmitError> {
        self.send_unlogged(Event::new(event, data)?)
    }

    /// As [`Socket::emit_unlogged`], with an event made before.
    ///
    /// # Errors
    /// As [`Socket::emit_unlogged`].
    pub fn send_unlogged(&self, event: Event) -> Result<(), EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Closed);
        }
        self.namespace
            .send_to(self, Held::Event { event, id: None });
        Ok(())
    }

    /// Emits and waits for the client's acknowledgement, read as `R`. Not logged: an acknowledgement in flight does not
    /// survive a reconnect.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn emit_with_ack<T, R>(
        &self,
        event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<R, AckError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let answer = self.ask_arguments(event, data, timeout).await?;
        answer.read().map_err(AckError::Misshaped)
    }

    /// As [`Socket::emit_with_ack`], with the answer unread.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn ask_arguments<T>(
        &self,
        event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<Arguments, AckError>
    where
        T: Serialize + ?Sized,
    {
        let event = Event::new(event, data).map_err(AckError::Emit)?;
        let (id, answer) = self.ask(event).map_err(AckError::Emit)?;
        let answer = ack::wait(answer, timeout).await;
        self.forget_ack(id);
        answer
    }

    /// Emits with an acknowledgement id; the answer comes through the channel.
    pub(crate) fn ask(
        &self,
        event: Event,
    ) -> Result<(u64, oneshot::Receiver<Arguments>), EmitError> {
        let id = self.namespace.next_ack_id();
        let (sender, answer) = oneshot::channel();
        {
            let mut acks = self.acks.lock();
            if !self.is_connected() {
                return Err(EmitError::Closed);
            }
            if acks.len() >= MAX_PENDING_ACKS {
                return Err(EmitError::QueueFull);
            }
            acks.insert(id, sender);
        }
        self.namespace.send_to(
            self,
            Held::Event {
                event,
                id: Some(id),
            },
        );
        Ok((id, answer))
    }

    /// Forgets an acknowledgement that nobody waits for any more.
    pub(crate) fn forget_ack(&self, id: u64) {
        self.acks.lock().remove(&id);
    }

    pub(crate) fn on_ack(&self, id: u64, arguments: Arguments) {
        let Some(waiting) = self.acks.lock().remove(&id) else {
            return;
        };
        // Whoever waited may have given up just now.
        let _late = waiting.send(arguments);
    }

    /// Resolves when little is queued for this client, or it has gone: the pace for sending much.
    pub async fn drained(&self) {
        self.session.drained().await;
    }

    /// To everybody in these rooms but this socket.
    #[must_use]
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// To everybody in these rooms, this socket too if it is in one (Socket.IO's `in`).
    #[must_use]
    pub fn within(&self, rooms: impl Rooms) -> Broadcast {
        Broadcast::new(self.namespace.clone()).to(rooms)
    }

    /// To everybody but this socket and those in these rooms.
    #[must_use]
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// To everybody in the namespace but this socket.
    #[must_use]
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.namespace.clone()).except(self.id.to_string())
    }

    /// To this client, if it can be written to at once; else not at all.
    #[must_use]
    pub fn volatile(&self) -> Broadcast {
        self.own_room().local().volatile()
    }

    fn own_room(&self) -> Broadcast {
        Broadcast::new(self.namespace.clone()).to(self.id.to_string())
    }

    /// The log position up to which this client has been sent everything it is entitled to.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.namespace.position_of(self)
    }

    // --- end ---

    /// Disconnects the client from the namespace for good: it does not come back by itself, and its session ends.
    /// What was emitted to it before still reaches it.
    pub fn disconnect(&self) {
        self.disconnect_from(false);
    }

    /// Disconnects the client from all namespaces, and closes its connection.
    pub fn disconnect_all(&self) {
        self.disconnect_from(true);
    }

    pub(crate) fn disconnect_from(&self, close: bool) {
        let packet = text_frame(&encode(Kind::Disconnect, self.namespace.path(), None, ""));
        self.namespace
            .send_to(self, Held::Disconnect { packet, close });
    }

    /// Closes the connection under the client without telling it: it reconnects, and recovers if it can.
    pub fn close_transport(&self) {
        self.session.close(CloseReason::ForcedServerClose);
    }

    /// True for the one caller that ends it; what is left is then cleaned up.
    pub(crate) fn end(&self) -> bool {
        let ended = self.is_connected.swap(false, Ordering::AcqRel);
        if ended {
            self.acks.lock().clear();
        }
        ended
    }

    pub(crate) fn take_disconnect_handler(&self) -> Option<OnDisconnect> {
        let mut listeners = self.listeners.lock();
        // Handlers hold clones of what they captured, often this socket: they must go with it.
        listeners.events.clear();
        listeners.any.clear();
        listeners.disconnect.take()
    }
}
