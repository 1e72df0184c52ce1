//! The server as its user builds it: namespaces with their handlers, on a transport, in a cluster.

mod handle;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::{
    Accept, CloseReason, ConfigError, Connection, Engine, Handshake, Refusal, Session,
};
use parking_lot::{Mutex, RwLock};

use crate::adapter::memory::Memory;
use crate::adapter::{Cluster, Local};
use crate::broadcast::{Broadcast, Rooms};
use crate::client::{Client, ClientConnection};
use crate::config::{Config, Delivery};
use crate::connect::Pattern;
use crate::counters::Counters;
use crate::event::EmitError;
use crate::handler::{ConnectHandler, erase_connect};
use crate::middleware::Connecting;
use crate::namespace::{Namespace, Setup, Shared};
use crate::sid::NodeId;

pub use handle::NamespaceHandle;

/// Namespaces that one connection may join.
const MAX_NAMESPACES_PER_CLIENT: usize = 64;

/// Decides about a handshake before there is a session.
pub(crate) type Admit = Box<dyn Fn(&Handshake) -> Result<(), Refusal> + Send + Sync>;

/// Makes a value that lives as long as a session.
pub(crate) type Track = Box<dyn Fn(&Handshake) -> Box<dyn Any + Send + Sync> + Send + Sync>;

/// Builds a [`SocketIo`].
pub struct Builder {
    config: Config,
    cluster: Option<Arc<dyn Cluster>>,
    state: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    admit: Option<Admit>,
    track: Option<Track>,
}

impl Builder {
    /// Sets the configuration; the default is [`Config::default`].
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Joins a cluster; the default is a cluster of one node in this process.
    #[must_use]
    pub fn cluster(mut self, cluster: Arc<dyn Cluster>) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Gives handlers a value that they can take as [`crate::State`]; one per type.
    #[must_use]
    pub fn with_state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.state.insert(TypeId::of::<T>(), Box::new(state));
        self
    }

    /// Decides about each handshake (Socket.IO's `allowRequest`); not called for the requests of an open session.
    #[must_use]
    pub fn admit<F>(mut self, admit: F) -> Self
    where
        F: Fn(&Handshake) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.admit = Some(Box::new(admit));
        self
    }

    /// Called for each session that opens; what it returns is dropped when the session has ended.
    #[must_use]
    pub fn track<F>(mut self, track: F) -> Self
    where
        F: Fn(&Handshake) -> Box<dyn Any + Send + Sync> + Send + Sync + 'static,
    {
        self.track = Some(Box::new(track));
        self
    }

    /// Makes the server. Called inside the tokio runtime that is to serve it.
    ///
    /// # Errors
    /// [`ConfigError`] when the transport's configuration contradicts itself.
    pub fn build(self) -> Result<SocketIo, ConfigError> {
        let cluster = self
            .cluster
            .unwrap_or_else(|| Memory::default().node(NodeId::new("0")));
        let engine_config = self.config.engine.clone();
        let inner = Arc::new(Inner {
            shared: Arc::new(Shared {
                config: self.config,
                counters: Counters::default(),
                state: self.state,
            }),
            cluster,
            admit: self.admit,
            track: self.track,
            namespaces: Mutex::default(),
            patterns: RwLock::default(),
        });
        let engine = Engine::new(engine_config, Arc::new(Door(inner.clone())))?;
        Ok(SocketIo { inner, engine })
    }
}

/// A Socket.IO server. Cheap to clone.
///
/// ```no_run
/// use chatcluster_socketio::{AckSender, Data, SocketIo, SocketRef};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let io = SocketIo::builder().build()?;
/// io.ns("/", async |s: SocketRef| {
///     s.on("echo", async |Data(text): Data<String>, ack: AckSender| {
///         let _too_large = ack.send(&text);
///     });
/// });
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// let forever = std::future::pending::<()>();
/// chatcluster_engineio::serve::serve(listener, io.service(), Default::default(), forever).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SocketIo {
    inner: Arc<Inner>,
    engine: Engine,
}

/// What connections share.
pub(crate) struct Inner {
    shared: Arc<Shared>,
    cluster: Arc<dyn Cluster>,
    admit: Option<Admit>,
    track: Option<Track>,
    pub(crate) namespaces: Mutex<HashMap<Arc<str>, Arc<Namespace>>>,
    pub(crate) patterns: RwLock<Vec<(Pattern, Arc<RwLock<Setup>>)>>,
}

impl Inner {
    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    #[expect(
        clippy::unused_self,
        reason = "becomes a setting when somebody needs another number"
    )]
    pub(crate) fn max_namespaces_per_client(&self) -> usize {
        MAX_NAMESPACES_PER_CLIENT
    }

    /// Makes a namespace and joins its cluster.
    pub(crate) fn open(&self, path: &str, setup: Arc<RwLock<Setup>>) -> Arc<Namespace> {
        let namespace = Namespace::new(path, self.shared.clone(), setup);
        let local: Arc<dyn Local> = namespace.clone();
        let delivery = namespace.delivery();
        namespace.open(self.cluster.open(path, delivery, Arc::downgrade(&local)));
        namespace
    }
}

/// Where the transport hands new sessions over.
struct Door(Arc<Inner>);

impl Accept for Door {
    fn admit(&self, handshake: &Handshake) -> Result<(), Refusal> {
        self.0
            .admit
            .as_ref()
            .map_or(Ok(()), |admit| admit(handshake))
    }

    fn open(&self, session: &Arc<Session>) -> Arc<dyn Connection> {
        let tracked = self
            .0
            .track
            .as_ref()
            .map(|track| track(session.handshake()));
        Arc::new(ClientConnection::new(
            Client::open(self.0.clone(), session),
            tracked,
        ))
    }
}

impl SocketIo {
    /// Starts building a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            cluster: None,
            state: HashMap::new(),
            admit: None,
            track: None,
        }
    }

    /// Adds a namespace and what happens when a client connects to it. A second call replaces the handler.
    pub fn ns<A: 'static>(&self, path: &str, handler: impl ConnectHandler<A>) -> NamespaceHandle {
        self.ns_with(path, Delivery::default(), handler)
    }

    /// As [`SocketIo::ns`], saying how the namespace delivers. That is decided when it is made: a second call does not
    /// change it.
    pub fn ns_with<A: 'static>(
        &self,
        path: &str,
        delivery: Delivery,
        handler: impl ConnectHandler<A>,
    ) -> NamespaceHandle {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let mut namespaces = self.inner.namespaces.lock();
        let namespace = match namespaces.get(path.as_str()) {
            Some(namespace) => namespace.clone(),
            None => {
                let setup = Setup {
                    delivery,
                    ..Setup::default()
                };
                let namespace = self.inner.open(&path, Arc::new(RwLock::new(setup)));
                namespaces.insert(path.as_str().into(), namespace.clone());
                namespace
            }
        };
        drop(namespaces);
        if namespace.delivery() != delivery {
            tracing::error!(
                namespace = namespace.path(),
                "the namespace is there already, and delivers otherwise; it stays so"
            );
        }
        let setup = namespace.setup_arc().clone();
        setup.write().connect = Some(erase_connect(handler));
        NamespaceHandle {
            setup,
            namespace: Some(namespace),
        }
    }

    /// Adds namespaces by pattern: whoever asks for a name that no other namespace has, and that the function accepts,
    /// gets it. Prefer deciding by name *and* credentials where names depend on them.
    pub fn dynamic_ns<A: 'static, P>(
        &self,
        accepts: P,
        handler: impl ConnectHandler<A>,
    ) -> NamespaceHandle
    where
        P: Fn(&str, &Connecting) -> bool + Send + Sync + 'static,
    {
        self.dynamic_ns_with(accepts, Delivery::default(), handler)
    }

    /// As [`SocketIo::dynamic_ns`], saying how the namespaces deliver.
    pub fn dynamic_ns_with<A: 'static, P>(
        &self,
        accepts: P,
        delivery: Delivery,
        handler: impl ConnectHandler<A>,
    ) -> NamespaceHandle
    where
        P: Fn(&str, &Connecting) -> bool + Send + Sync + 'static,
    {
        let setup = Arc::new(RwLock::new(Setup {
            connect: Some(erase_connect(handler)),
            delivery,
            ..Setup::default()
        }));
        self.inner
            .patterns
            .write()
            .push((Box::new(accepts), setup.clone()));
        NamespaceHandle {
            setup,
            namespace: None,
        }
    }

    /// A namespace that exists.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<Arc<Namespace>> {
        self.inner.namespaces.lock().get(path).cloned()
    }

    /// All namespaces, those that patterns created included.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.inner.namespaces.lock().values().cloned().collect()
    }

    /// The HTTP service of the transport.
    #[must_use]
    pub fn service(&self) -> chatcluster_engineio::EngineService {
        self.engine.service()
    }

    /// The transport.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.inner.counters()
    }

    /// Closes all connections, so that clients come back elsewhere, and leaves the cluster; done at the deadline at the latest.
    pub async fn close(&self, deadline: Duration) {
        self.engine
            .close(CloseReason::ServerShuttingDown, deadline)
            .await;
        let namespaces: Vec<_> = self.inner.namespaces.lock().drain().collect();
        for (_, namespace) in namespaces {
            namespace.adapter().close();
        }
    }
}

impl Namespace {
    /// Everybody in the namespace.
    pub fn all(self: &Arc<Self>) -> Broadcast {
        Broadcast::new(self.clone())
    }

    /// Everybody in these rooms.
    pub fn to(self: &Arc<Self>, rooms: impl Rooms) -> Broadcast {
        self.all().to(rooms)
    }

    /// Everybody who is in none of these rooms.
    pub fn except(self: &Arc<Self>, rooms: impl Rooms) -> Broadcast {
        self.all().except(rooms)
    }

    /// Emits to everybody through the log.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub fn emit<T: serde::Serialize + ?Sized>(
        self: &Arc<Self>,
        event: &str,
        data: &T,
    ) -> Result<(), EmitError> {
        self.all().emit(event, data)
    }
}
