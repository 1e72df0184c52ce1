//! One client in one namespace: its id, handlers, rooms, data, and what it is sent.

mod disconnect_reason;
mod handlers;
pub(crate) mod inbox;
mod sending;

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatcluster_engineio::{CloseReason, Handshake, Session, TransportKind};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::arguments::{Arguments, Error};
use crate::broadcast::Rooms;
use crate::client::Client;
use crate::event::{EmitError, text_frame};
use crate::extensions::Extensions;
use crate::log::{ConnectionId, Room};
use crate::member::Held;
use crate::namespace::Namespace;
use crate::outside;
use crate::packet::{Kind, encode};
use crate::recovery::Claim;
use crate::registry::Slot;
use crate::sid::Sid;

pub use disconnect_reason::DisconnectReason;
use handlers::Listeners;
use inbox::Inbox;

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

/// One client in one namespace. Handlers get it as [`SocketRef`].
pub struct Socket {
    id: Sid,
    /// Differs from connection to connection of one session.
    connection: ConnectionId,
    namespace: Arc<Namespace>,
    link: Link,
    /// The hold on a recoverable session; `None` without recovery.
    pub(crate) claim: Option<Box<Claim>>,
    identity: Option<Arc<str>>,
    auth: Option<Box<str>>,
    origin: Origin,
    slot: AtomicUsize,
    is_connected: AtomicBool,
    is_taken_over: AtomicBool,
    /// Its send queue refused something: the connection is being closed, once.
    is_overflowed: AtomicBool,
    listeners: Mutex<Listeners>,
    data: Mutex<Arc<str>>,
    acks: Mutex<HashMap<u64, oneshot::Sender<Arguments>>>,
    inbox: Mutex<Inbox>,
    extensions: Extensions,
}

/// The connection that carries a socket, with others of the same client.
pub(crate) struct Link {
    session: Arc<Session>,
    client: Weak<Client>,
}

impl Link {
    pub(crate) fn new(session: Arc<Session>, client: &Arc<Client>) -> Self {
        let client = Arc::downgrade(client);
        Self { session, client }
    }
}

/// Where a socket's session comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    New,
    /// Recovered after its connection had ended.
    Returned,
    /// Recovered while another connection still had it.
    TookOver,
}

/// What a connect has found out before there is a socket.
pub(crate) struct Credentials {
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) auth: Option<Box<str>>,
    pub(crate) data: Arc<str>,
    /// Where a new session begins.
    pub(crate) rooms: Vec<Room>,
    pub(crate) extensions: Extensions,
}

impl Socket {
    pub(crate) fn new(
        id: Sid,
        namespace: Arc<Namespace>,
        link: Link,
        credentials: Credentials,
        claim: Option<Box<Claim>>,
        origin: Origin,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            connection: outside::random(),
            namespace,
            link,
            claim,
            identity: credentials.identity,
            auth: credentials.auth,
            origin,
            slot: AtomicUsize::new(NO_SLOT),
            is_connected: AtomicBool::new(true),
            is_taken_over: AtomicBool::new(false),
            is_overflowed: AtomicBool::new(false),
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
        self.origin != Origin::New
    }

    /// True if the client came back before its previous connection was known to have ended. That one then ends with
    /// [`Socket::is_taken_over`]: seen from outside the client never went.
    #[must_use]
    pub fn took_over(&self) -> bool {
        self.origin == Origin::TookOver
    }

    /// True once another connection of the same client has the session.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        self.is_taken_over.load(Ordering::Acquire)
    }

    pub(crate) fn is_overflowed(&self) -> bool {
        self.is_overflowed.load(Ordering::Acquire)
    }

    /// Called under the registry's lock.
    pub(crate) fn mark_overflowed(&self) {
        self.is_overflowed.store(true, Ordering::Release);
    }

    pub(crate) fn mark_taken_over(&self) {
        self.is_taken_over.store(true, Ordering::Release);
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
        self.link.session.handshake()
    }

    /// The transport at this moment.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.link.session.transport()
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

    pub(crate) fn connection(&self) -> ConnectionId {
        self.connection
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.link.session
    }

    /// The other sockets of the same connection.
    pub(crate) fn siblings(&self) -> Vec<Arc<Socket>> {
        let client = self.link.client.upgrade();
        let mut sockets = client.map(|c| c.sockets()).unwrap_or_default();
        sockets.retain(|socket| !std::ptr::eq(Arc::as_ptr(socket), self));
        sockets
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
        self.namespace.config().engine.longest_silence()
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
        self.note_change();
        self.namespace.persist(self).await;
        Ok(())
    }

    /// Something that is stored with the session has changed.
    pub(crate) fn note_change(&self) {
        self.claim.as_ref().inspect(|claim| claim.note_change());
    }

    // --- rooms ---

    /// Joins rooms. Resolves when the session record with it is stored: from then on whatever happens to this node,
    /// the client gets what the rooms get.
    ///
    /// Returns the position at which it joined: what the log holds above it comes live, what lies below is history.
    pub async fn join(&self, rooms: impl Rooms) -> u64 {
        let position = self.namespace.join(self, &rooms.into_rooms());
        self.namespace.persist(self).await;
        position
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

    /// The position at which it joined a room that it is in: live events of the room have higher positions.
    #[must_use]
    pub fn joined_at(&self, room: &str) -> Option<u64> {
        let mut registry = self.namespace.registry().lock();
        registry.joined_at(self.slot(), self, room)
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
        if !self.is_connected() {
            // The connection may be carrying a successor by now.
            return;
        }
        self.link.session.close(CloseReason::ForcedServerClose);
    }

    /// True for the one caller that ends it; what is left is then cleaned up.
    pub(crate) fn end(&self) -> bool {
        let ended = self.is_connected.swap(false, Ordering::AcqRel);
        if ended {
            self.acks.lock().clear();
        }
        ended
    }
}
