//! One node's place in the cluster: what `chatcluster-socketio` asks for, put together from the parts of this crate.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatcluster_socketio::adapter::{Adapter, Cluster, Local};
use chatcluster_socketio::level::Level;
use chatcluster_socketio::{Delivery, NodeId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::absent;
use crate::adapter::NatsAdapter;
use crate::asserter;
use crate::cells::Cells;
use crate::connection::{self, ConnectionError};
use crate::counters::Counters;
use crate::denials::Denials;
use crate::ephemeral::Broker;
use crate::epoch::EpochError;
use crate::follower::{Follower, Source};
use crate::gate::Gate;
use crate::names::{BadPrefix, Names};
use crate::nats;
use crate::opening::{Open, open_log};
use crate::options::Options;
use crate::peers::{JoinError, RelayPlace};
use crate::pipeline::{Item, Pipeline, Progress, QUEUE};
use crate::ports::Ports;
use crate::position::{last_of, whole_through};
use crate::publisher::Publisher;
use crate::read_model::{ReadModel, ResetError};
use crate::replays::{self, Replays, Wanted};
use crate::secret::{self, PeerSecret, SecretError};
use crate::sessions::{BucketError, KvSessions};
use crate::stream::StreamError;
use crate::sweeper;

/// A node cannot join its cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The prefix cannot be used.
    #[error(transparent)]
    Prefix(#[from] BadPrefix),
    /// NATS cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectionError),
    /// NATS denies a subject.
    #[error(
        "NATS denies this node: {denied}; its user needs all permissions that docs/operations.md lists"
    )]
    Denied {
        /// The act and its subject, as the server says it.
        denied: String,
    },
    /// The log cannot be used.
    #[error("open the log")]
    Log(#[from] StreamError),
    /// The epoch cannot be read.
    #[error("open the epoch")]
    Epoch(#[from] EpochError),
    /// The bucket of the sessions cannot be used.
    #[error("open the sessions")]
    Sessions(#[from] BucketError),
    /// The log cannot be read.
    #[error("read the log")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The rows of an earlier log are in the way.
    #[error("open the read model")]
    ReadModel(#[from] ResetError),
    /// The other nodes cannot be met.
    #[error("meet the other nodes")]
    Peers(#[from] JoinError),
}

impl Error {
    /// Whether another attempt would fail as well: the settings are wrong, or not those of the cluster that is there.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Prefix(_) => true,
            Self::Connect(error) => error.is_lasting(),
            Self::Log(error) => matches!(
                error,
                StreamError::OtherSetting { .. } | StreamError::Sequences { .. }
            ),
            Self::Sessions(error) => matches!(error, BucketError::Differs { .. }),
            _ => false,
        }
    }
}

/// One node of a cluster on NATS. Cheap to clone.
///
/// Opening the first namespace starts the log: set up all namespaces that are known in advance before anything else, so
/// that each is given what was logged before.
#[derive(Clone)]
pub struct NatsCluster {
    shared: Arc<Shared>,
    denials: Arc<Denials>,
}

pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) names: Names,
    pub(crate) publisher: Publisher,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) items: mpsc::Sender<Item>,
    pub(crate) sessions: KvSessions,
    pub(crate) broker: Broker,
    pub(crate) replays: Replays,
    pub(crate) counters: Arc<Counters>,
    meta: Arc<dyn Cells>,
    health: watch::Receiver<Option<String>>,
    /// The namespaces of this node.
    locals: Mutex<Vec<Weak<dyn Local>>>,
    /// Started with the first namespace.
    engine: Mutex<Option<Engine>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What reads and delivers the log.
struct Engine {
    follower: Follower,
    received: mpsc::Receiver<Item>,
    source: Source,
    replays_asked: mpsc::Receiver<Wanted>,
}

impl NatsCluster {
    /// Joins: connects, makes what is missing of stream and buckets, finds out where to read from. `read_models` are by
    /// namespace: a record is given to its namespace's, in the log's order. Rows of another log are given up.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed that was there before.
    pub async fn join(
        options: Options,
        node: NodeId,
        read_models: HashMap<String, Arc<dyn ReadModel>>,
    ) -> Result<Self, Error> {
        let names = Names::new(&options.prefix)?;
        let counters = Arc::new(Counters::default());
        let denials = Arc::new(Denials::default());
        let connecting = connection::connect(&options, &names, counters.clone(), denials.clone());
        let (client, connections) = connecting.await?;
        let options = Arc::new(options);
        let ports = nats::ports(&client, connections, &names, &options);
        let entering = Self::enter(ports, options, names, node, read_models, counters);
        // What is denied is not answered: it would be a timeout that does not say why.
        tokio::select! {
            biased;
            entered = entering => match (entered, denials.seen()) {
                (Ok(cluster), _) => Ok(Self { denials: denials.clone(), ..cluster }),
                (Err(_), Some(denied)) => Err(Error::Denied { denied }),
                (Err(error), None) => Err(error),
            },
            denied = denials.first() => Err(Error::Denied { denied }),
        }
    }

    /// As [`NatsCluster::join`], on a connection that is there.
    pub(crate) async fn enter(
        ports: Ports,
        options: Arc<Options>,
        names: Names,
        node: NodeId,
        read_models: HashMap<String, Arc<dyn ReadModel>>,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let open = open_log(ports.clone(), &names, options, &counters, &read_models).await?;
        let Open {
            source,
            log: (now, created, begin, end),
        } = open;
        let ends = (last_of(begin), last_of(end));
        let pipeline = Pipeline::new(now, ends, &read_models, counters.clone());
        let (items, received) = mpsc::channel(QUEUE);
        let (healthy, health) = watch::channel(Some("the log has not been read yet".to_owned()));
        let (log, into) = ((now, created, begin), (items.clone(), healthy));
        let looked = Arc::new(Level::default());
        let gate = Gate::new(ports.wire.clone(), looked.clone());
        let served = pipeline.clone();
        let awaited = Arc::new(move || served.is_awaited());
        let follower = Follower::new(source.clone(), log, into, looked, awaited);
        let (replays, replays_asked) = Replays::new();
        let engine = Engine {
            follower,
            received,
            source,
            replays_asked,
        };
        let broker = Broker::join(ports.wire, &names, &node, &counters).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(absent::serve(broker.clone()));
        Ok(Self {
            shared: Arc::new(Shared {
                node,
                publisher: Publisher::spawn(
                    (ports.log, broker.wire.clone()),
                    gate,
                    counters.clone(),
                ),
                sessions: KvSessions::new(ports.sessions, counters.clone()),
                names,
                pipeline,
                items,
                broker,
                counters,
                meta: ports.meta,
                health,
                replays,
                locals: Mutex::default(),
                engine: Mutex::new(Some(engine)),
                tasks: Mutex::new(tasks),
            }),
            denials: Arc::default(),
        })
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Why the log is not being read; `None` while it is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.health.borrow().clone()
    }

    /// What NATS denies this node, by act and subject; `None` as far as is known.
    #[must_use]
    pub fn denied(&self) -> Option<String> {
        self.denials.now()
    }

    /// The other nodes that follow the log now. Where this one cannot and they can, clients are better off there.
    #[must_use]
    pub fn others_with_log(&self) -> Vec<NodeId> {
        self.shared.broker.peers.others_with_log()
    }

    /// How many nodes are known to live, this one included.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.shared.broker.peers.count()
    }

    /// A secret that all nodes of the cluster share, and nobody else who may not read its buckets.
    ///
    /// # Errors
    /// [`SecretError`]; another attempt may succeed.
    pub async fn peer_secret(&self) -> Result<PeerSecret, SecretError> {
        secret::ensure(&*self.shared.meta).await
    }

    /// Tells the other nodes whose sessions this node holds, and where it takes their requests.
    pub fn advertise(&self, place: RelayPlace) {
        self.shared.broker.peers.advertise(place);
    }

    /// Where the other node takes requests whose sessions have this tag; `None` if it is gone, or never was.
    #[must_use]
    pub fn peer_by_tag(&self, tag: &str) -> Option<SocketAddr> {
        self.shared.broker.peers.by_tag(tag)
    }

    /// Where the other nodes take requests of their sessions, as far as is known. While this node cannot hear them, none is
    /// taken for gone.
    #[must_use]
    pub fn relay_places(&self) -> Vec<RelayPlace> {
        self.shared.broker.peers.places()
    }

    /// Messages of this node whose fate is not known.
    #[must_use]
    pub fn publishes_waiting(&self) -> usize {
        self.shared.publisher.waiting()
    }

    /// How many messages of the log this node has to read before it is up to date; 0 once it is. It reads on from there,
    /// and has to read everything anew when the log becomes another one: clients are let in at 0 only, or they would be sent
    /// old messages as new ones.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let progress = *self.shared.pipeline.progress().borrow();
        whole_through(progress.target).saturating_sub(whole_through(progress.completed))
    }

    /// Resolves when everything has been delivered that was in the log when the node joined.
    pub async fn caught_up(&self) {
        let mut progress = self.shared.pipeline.progress();
        // The sender lives as long as we do.
        let _gone = progress.wait_for(Progress::is_caught_up).await;
    }

    /// Gives the sessions of nodes that are gone the recovery window, so that they go if nobody takes them.
    pub fn sweep_sessions(&self, window: Duration) {
        let weak = Arc::downgrade(&self.shared);
        let changes = self.shared.broker.peers.changes();
        let sweeping = sweeper::run(weak, changes, window);
        self.shared.tasks.lock().spawn(sweeping);
    }

    #[cfg(test)]
    pub(crate) fn sessions(&self) -> &KvSessions {
        &self.shared.sessions
    }

    /// Leaves: says farewell, and nothing more is delivered.
    pub async fn close(&self) {
        self.shared.broker.peers.close().await;
        self.shared.publisher.close();
        let mut tasks = std::mem::take(&mut *self.shared.tasks.lock());
        tasks.shutdown().await;
    }
}

impl Shared {
    /// The namespaces of this node, as far as they are still there.
    pub(crate) fn locals(&self) -> Vec<Arc<dyn Local>> {
        let locals = self.locals.lock();
        locals.iter().filter_map(Weak::upgrade).collect()
    }

    /// Sockets connected to this node.
    fn members(&self) -> usize {
        self.locals().iter().map(|local| local.members()).sum()
    }

    fn add_local(&self, local: Weak<dyn Local>) {
        let mut locals = self.locals.lock();
        locals.retain(|local| local.strong_count() > 0);
        locals.push(local);
    }

    /// Starts reading, with the first namespace.
    fn start(self: &Arc<Self>) {
        let Some(engine) = self.engine.lock().take() else {
            return;
        };
        let Engine {
            follower,
            received,
            source,
            replays_asked,
        } = engine;
        let weak = Arc::downgrade(self);
        let count = move || weak.upgrade().map_or(0, |shared| shared.members());
        self.broker.peers.count_members(Box::new(count));
        let mut tasks = self.tasks.lock();
        let models = self.pipeline.read_models().clone();
        tasks.spawn(replays::run(source, models, replays_asked));
        tasks.spawn(self.pipeline.clone().run(received));
        tasks.spawn(follower.run());
        tasks.spawn(asserter::run(Arc::downgrade(self)));
        let (peers, mut health) = (self.broker.peers.clone(), self.health.clone());
        tasks.spawn(async move {
            loop {
                let has_log = health.borrow_and_update().is_none();
                peers.set_has_log(has_log);
                if health.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Cluster for NatsCluster {
    fn open(
        &self,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Arc<dyn Adapter> {
        let shared = self.shared.clone();
        shared.add_local(local.clone());
        let adapter = NatsAdapter::open(shared.clone(), namespace, delivery, local);
        shared.start();
        Arc::new(adapter)
    }
}
