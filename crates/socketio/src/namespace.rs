//! A namespace on one node: its handlers, its sockets, and its link to the other nodes.

pub(crate) mod lifecycle;
mod requests;
mod sending;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};

use crate::adapter::{Adapter, Answer, Cast, Local, Request, Swept};
use crate::arguments::Arguments;
use crate::backfill::Backfill;
use crate::config::{Config, Delivery, Recovery};
use crate::counters::Counters;
use crate::handler::{ErasedConnect, ErasedEvent};
use crate::level::Level;
use crate::log::{Entry, Room};
use crate::middleware::Middleware;
use crate::outside;
use crate::registry::Registry;
use crate::session::StoreError;
use crate::socket::{Socket, SocketRef};
use crate::window::Window;

/// What all namespaces of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) counters: Counters,
    pub(crate) state: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

/// Answers server-side events of other nodes; `None` is no answer.
pub(crate) type ServerSideListener =
    Arc<dyn Fn(Arguments) -> BoxFuture<'static, Option<Arguments>> + Send + Sync>;

/// What the application set up for a namespace, shared with the children of a pattern.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) connect: Option<Arc<dyn ErasedConnect>>,
    pub(crate) middlewares: Vec<Middleware>,
    pub(crate) server_side: Vec<(Box<str>, ServerSideListener)>,
    /// Handlers of every socket, unless it has its own for the event.
    pub(crate) events: HashMap<Box<str>, Arc<dyn ErasedEvent>>,
    pub(crate) backfill: Option<BackfillSource>,
    pub(crate) is_without_recovery: bool,
    /// Said when it is made, and the same from then on.
    pub(crate) delivery: Delivery,
}

impl Setup {
    /// True where a client can be given back what it missed, if the server is told to.
    fn has_recovery(&self) -> bool {
        !self.is_without_recovery && self.delivery == Delivery::Logged
    }
}

/// Sends history to a socket that was not recovered.
pub(crate) type BackfillSource = Arc<dyn Fn(Backfill) -> BoxFuture<'static, ()> + Send + Sync>;

/// A namespace, such as `/`.
pub struct Namespace {
    path: Arc<str>,
    delivery: Delivery,
    shared: Arc<Shared>,
    setup: Arc<RwLock<Setup>>,
    adapter: OnceLock<Arc<dyn Adapter>>,
    /// Others can be heard here.
    is_opened: AtomicBool,
    registry: Mutex<Registry>,
    /// The position processed last, for those who wait for one.
    position: Level,
    ack_ids: AtomicU64,
}

impl Namespace {
    /// A namespace that has not joined its cluster yet.
    pub(crate) fn new(path: &str, shared: Arc<Shared>, setup: Arc<RwLock<Setup>>) -> Arc<Self> {
        let path: Arc<str> = path.into();
        let delivery = setup.read().delivery;
        let window = match &shared.config.recovery {
            Some(recovery) if setup.read().has_recovery() => {
                Window::new(recovery.memory_window_bytes, shared.config.span(recovery))
            }
            _ => Window::new(BRING_UP_BYTES, BRING_UP_SPAN),
        };
        Arc::new(Self {
            registry: Mutex::new(Registry::new(path.clone(), window)),
            path,
            delivery,
            shared,
            setup,
            adapter: OnceLock::new(),
            is_opened: AtomicBool::new(false),
            position: Level::default(),
            ack_ids: AtomicU64::new(0),
        })
    }

    /// Joins the cluster; called once.
    pub(crate) fn open(&self, adapter: Arc<dyn Adapter>) {
        let start = adapter.start_position();
        self.registry.lock().open(adapter.epoch(), start);
        self.position.raise(start);
        if self.adapter.set(adapter).is_err() {
            tracing::error!(namespace = &*self.path, "the namespace was opened twice");
        }
    }

    // --- about it ---

    /// Its path, such as `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How its events reach its clients.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The position that this node has processed last; 0 where there is no log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.registry.lock().last_position()
    }

    /// How many nodes serve this namespace now, this one included.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.adapter().node_count()
    }

    /// Sockets connected to this node and to the others, as far as they have said: their part may be a second old, and may
    /// count other namespaces, too. For what would be too much to tell very many.
    #[must_use]
    pub fn approximate_len(&self) -> usize {
        self.local_len() + self.adapter().members_elsewhere()
    }

    /// Sockets connected to this node.
    #[must_use]
    pub fn local_len(&self) -> usize {
        self.registry.lock().len()
    }

    /// Bytes of log in memory.
    #[must_use]
    pub fn window_bytes(&self) -> usize {
        self.registry.lock().window_bytes()
    }

    /// The sockets connected to this node.
    #[must_use]
    pub fn local_sockets(&self) -> Vec<SocketRef> {
        self.registry
            .lock()
            .sockets()
            .into_iter()
            .map(SocketRef)
            .collect()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// What recovery may do here; `None` if it is off.
    pub(crate) fn recovery(&self) -> Option<&Recovery> {
        let recovery = self.shared.config.recovery.as_ref();
        recovery.filter(|_| self.setup.read().has_recovery())
    }

    /// There is no recovery here.
    pub(crate) fn narrow_window(&self) {
        let mut registry = self.registry.lock();
        registry.narrow_window(BRING_UP_BYTES, BRING_UP_SPAN);
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn setup_arc(&self) -> &Arc<RwLock<Setup>> {
        &self.setup
    }

    pub(crate) fn setup(&self) -> &RwLock<Setup> {
        &self.setup
    }

    pub(crate) fn state<T: Clone + 'static>(&self) -> Option<T> {
        let state = self.shared.state.get(&TypeId::of::<T>())?;
        state.downcast_ref::<T>().cloned()
    }

    pub(crate) fn adapter(&self) -> &Arc<dyn Adapter> {
        self.adapter
            .get()
            .expect("a namespace is opened before anybody can reach it")
    }

    /// Waits until what the other nodes ask and say at most once reaches this one; two seconds at most, for it may be lost
    /// anyway. Clients are let in after that; a server waits for it before it calls itself ready.
    pub async fn opened(&self) {
        if !self.is_opened.load(Ordering::Relaxed) {
            let opened = self.adapter().opened();
            if tokio::time::timeout(OPEN_DEADLINE, opened).await.is_err() {
                tracing::warn!(
                    namespace = &*self.path,
                    "clients are let in before the other nodes can be heard"
                );
            }
            self.is_opened.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn registry(&self) -> &Mutex<Registry> {
        &self.registry
    }

    pub(crate) fn handler_of(&self, event: &str) -> Option<Arc<dyn ErasedEvent>> {
        self.setup.read().events.get(event).cloned()
    }

    /// How many sockets of this node are in a room.
    #[must_use]
    pub fn local_room_len(&self, room: &str) -> usize {
        self.registry.lock().room_len(room)
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.ack_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Resolves when this node has processed the log up to `position`; false if it has not within `timeout`.
    pub(crate) async fn reaches(&self, position: u64, timeout: Duration) -> bool {
        let reached = self.position.until(|now| now >= position);
        tokio::time::timeout(timeout, reached).await.is_ok()
    }

    // --- rooms ---

    pub(crate) fn join(&self, socket: &Socket, rooms: &[Room]) -> u64 {
        self.registry
            .lock()
            .join(socket.slot(), socket, rooms, now_ms())
    }

    pub(crate) fn leave(&self, socket: &Socket, rooms: &[Room]) {
        self.registry
            .lock()
            .leave(socket.slot(), socket, rooms, now_ms());
    }

    pub(crate) fn rooms_of(&self, socket: &Socket) -> Vec<Room> {
        self.registry.lock().rooms_of(socket.slot(), socket)
    }

    pub(crate) fn position_of(&self, socket: &Socket) -> u64 {
        self.registry.lock().position_of(socket.slot(), socket)
    }
}

/// How long the first clients of a namespace may wait for it.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);
/// Without recovery the window only bridges what is logged while a client is sent its history.
const BRING_UP_BYTES: usize = 8 << 20;
const BRING_UP_SPAN: Duration = Duration::from_secs(60);

pub(crate) fn now_ms() -> u64 {
    u64::try_from(outside::since_1970().as_millis()).unwrap_or(u64::MAX)
}

impl Local for Namespace {
    fn deliver(&self, entry: &Arc<Entry>) {
        self.counters().entries_delivered.increment();
        let after = self.registry.lock().deliver(entry);
        self.position.raise(entry.position);
        self.finish(after);
    }

    fn advance(&self, position: u64) {
        self.registry.lock().advance(position);
        self.position.raise(position);
    }

    fn has_members(&self) -> bool {
        let registry = self.registry.lock();
        registry.len() > 0 || !registry.arrivals.is_empty()
    }

    fn members(&self) -> usize {
        self.local_len()
    }

    fn restart(&self, epoch: u64, position: u64) {
        let (sockets, why) = self.registry.lock().restart(epoch, position);
        self.position.set(position);
        for socket in sockets {
            self.end_session(&socket, Some(why));
        }
    }

    fn receive(&self, cast: Cast) {
        match cast {
            Cast::Volatile { to, event } => self.broadcast_locally(&to, &event, true),
            Cast::Ephemeral {
                to,
                event,
                is_volatile,
            } => self.broadcast_locally(&to, &event, is_volatile),
            Cast::ServerSide { event } => self.on_server_side(&event),
            Cast::Evict { sid, revision } => self.evict_locally(sid, revision),
        }
    }

    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.answer_request(request).await })
    }

    fn assert(self: Arc<Self>, swept: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
        Box::pin(async move { Namespace::assert(&self, swept).await })
    }
}
