//! One node's place in the cluster: what `chatcluster-socketio` asks for, put together from the parts of this crate.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::ContextBuilder;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::{Adapter, Answers, Cast, Cluster, Local, Request};
use chatcluster_socketio::log::{
    AppendDone, AppendError, Appended, Envelope, Record, Store, Target,
};
use chatcluster_socketio::session::Sessions;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::codec;
use crate::connection::{self, ConnectionError};
use crate::counters::Counters;
use crate::ephemeral::{Broker, Ephemeral};
use crate::epoch::{Epoch, EpochError};
use crate::follower::{self, Follower, Source};
use crate::names::{BadPrefix, Names, token};
use crate::options::Options;
use crate::peers::{JoinError, Peers};
use crate::pipeline::{Item, Logged, Pipeline, QUEUE};
use crate::publisher::{Outgoing, Publisher};
use crate::sessions::{BucketError, KvSessions, ensure_bucket};
use crate::stream::{self, StreamError};

/// How long JetStream may take to answer a call that is not bounded more tightly.
const CALL: Duration = Duration::from_secs(5);
/// What a message may have beside its payload: subject, id, protocol.
const HEADROOM: usize = 1024;

/// A node cannot join its cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The prefix cannot be used.
    #[error(transparent)]
    Prefix(#[from] BadPrefix),
    /// NATS cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectionError),
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
    /// The other nodes cannot be met.
    #[error("meet the other nodes")]
    Peers(#[from] JoinError),
}

/// One node of a cluster on NATS. Cheap to clone.
///
/// Opening the first namespace starts the log: set up all namespaces that are known in advance before anything else, so
/// that each is given what was logged before.
#[derive(Clone)]
pub struct NatsCluster {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    names: Names,
    client: Client,
    publisher: Publisher,
    pipeline: Arc<Pipeline>,
    items: mpsc::Sender<Item>,
    sessions: KvSessions,
    broker: Broker,
    counters: Arc<Counters>,
    health: watch::Receiver<Option<String>>,
    /// Where the log ended when the node joined.
    end: u64,
    begin: u64,
    /// Started with the first namespace.
    engine: Mutex<Option<Engine>>,
    tasks: Mutex<JoinSet<()>>,
}

/// What reads and delivers the log.
struct Engine {
    follower: Follower,
    received: mpsc::Receiver<Item>,
}

impl NatsCluster {
    /// Joins: connects, makes what is missing of stream and buckets, finds out where to read from. `stores` are the read
    /// models by namespace: a record is given to its namespace's, in the log's order.
    ///
    /// # Errors
    /// [`Error`]; nothing was changed that was there before.
    pub async fn join(
        options: Options,
        node: NodeId,
        stores: HashMap<String, Arc<dyn Store>>,
    ) -> Result<Self, Error> {
        let names = Names::new(&options.prefix)?;
        let options = Arc::new(options);
        let counters = Arc::new(Counters::default());
        let client = connection::connect(&options, &names).await?;
        let jetstream = ContextBuilder::new().timeout(CALL).build(client.clone());
        let info = stream::ensure(&jetstream, &names, &options).await?;
        let (replicas, storage) = (options.replicas, options.storage);
        let epoch = Epoch::open(&jetstream, &names, replicas, storage).await?;
        let created = follower::nanoseconds(info.created);
        let now = epoch.of(created).await?;
        ensure_bucket(&jetstream, &names, replicas, storage).await?;
        let source = Source {
            jetstream: jetstream.clone(),
            names: names.clone(),
            options,
            epoch,
            counters: counters.clone(),
        };
        let read_model = stores.values().map(|store| store.last_position()).min();
        let begin = source.start(&info, read_model).await;
        let begin = begin.map_err(|trouble| Error::Read(trouble.into()))?;
        let pipeline = Pipeline::new(now, begin, &stores, counters.clone());
        let (items, received) = mpsc::channel(QUEUE);
        let (healthy, health) = watch::channel(Some("the log has not been read yet".to_owned()));
        let follower = Follower::new(source, items.clone(), (now, created), begin, healthy);
        let peers = Peers::join(
            client.clone(),
            names.clone(),
            node.clone(),
            counters.clone(),
        )
        .await?;
        let broker = Broker {
            client: client.clone(),
            names: names.clone(),
            peers,
            counters: counters.clone(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                node,
                publisher: Publisher::spawn(jetstream, counters.clone()),
                sessions: KvSessions::new(client.clone(), &names, counters.clone()),
                names,
                client,
                pipeline,
                items,
                broker,
                counters,
                health,
                end: info.state.last_sequence,
                begin,
                engine: Mutex::new(Some(Engine { follower, received })),
                tasks: Mutex::default(),
            }),
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

    /// Messages of this node whose fate is not known.
    #[must_use]
    pub fn publishes_waiting(&self) -> usize {
        self.shared.publisher.waiting()
    }

    /// The position up to which this node has delivered, where it began, and where the log ended when it joined.
    #[must_use]
    pub fn progress(&self) -> (u64, u64, u64) {
        let completed = *self.shared.pipeline.completed().borrow();
        (completed, self.shared.begin, self.shared.end)
    }

    /// Resolves when everything has been delivered that was in the log when the node joined.
    pub async fn caught_up(&self) {
        let mut completed = self.shared.pipeline.completed();
        let end = self.shared.end;
        // The sender lives as long as we do.
        let _gone = completed.wait_for(|position| *position >= end).await;
    }

    /// Gives the sessions of dead nodes the recovery window, so that they go if nobody takes them.
    pub fn sweep_sessions(&self, window: Duration) {
        let mut deaths = self.shared.broker.peers.deaths();
        let weak = Arc::downgrade(&self.shared);
        self.shared.tasks.lock().spawn(async move {
            loop {
                let dead = match deaths.recv().await {
                    Ok(dead) => dead,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let Some(shared) = weak.upgrade() else {
                    return;
                };
                match shared.sessions.sweep(&dead, window).await {
                    Ok(swept) => tracing::info!(node = %dead, sessions = swept, "a node is gone"),
                    Err(error) => tracing::warn!(node = %dead, %error, "sessions of a node that is gone stay"),
                }
            }
        });
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
    /// Starts reading, with the first namespace.
    fn start(&self) {
        let Some(Engine { follower, received }) = self.engine.lock().take() else {
            return;
        };
        let mut tasks = self.tasks.lock();
        tasks.spawn(self.pipeline.clone().run(received));
        tasks.spawn(follower.run());
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
    fn open(&self, namespace: &str, local: Weak<dyn Local>) -> Arc<dyn Adapter> {
        let shared = self.shared.clone();
        let start_position = shared.pipeline.follow(namespace, local.clone());
        let ephemeral = Ephemeral::open(shared.broker.clone(), namespace, local);
        shared.start();
        Arc::new(NatsAdapter {
            namespace: namespace.into(),
            token: token(namespace).into(),
            start_position,
            ephemeral,
            shared,
        })
    }
}

struct NatsAdapter {
    namespace: Box<str>,
    token: Box<str>,
    start_position: u64,
    ephemeral: Ephemeral,
    shared: Arc<Shared>,
}

impl NatsAdapter {
    /// JetStream's id of a message: of the record's key, so that the same message sent to two nodes is one; else random.
    fn message_id(&self, record: Option<&Record>) -> String {
        let id: [u8; 16] = match record {
            Some(record) => {
                let digest = Sha256::new()
                    .chain_update(self.namespace.as_bytes())
                    .chain_update([0])
                    .chain_update(record.key)
                    .finalize();
                let mut id = [0; 16];
                id.copy_from_slice(&digest[..16]);
                id
            }
            None => rand::random(),
        };
        URL_SAFE_NO_PAD.encode(id)
    }
}

/// What keeps its order: a room, the whole namespace, a session.
fn lane(subject: &str, target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    if let Target::Session(sid) = target {
        sid.hash(&mut hasher);
    }
    hasher.finish()
}

impl Adapter for NatsAdapter {
    fn node(&self) -> &NodeId {
        &self.shared.node
    }

    fn epoch(&self) -> u64 {
        self.shared.pipeline.epoch()
    }

    fn start_position(&self) -> u64 {
        self.start_position
    }

    fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        let subject = self
            .shared
            .names
            .log_subject(&self.namespace, &envelope, &self.shared.node);
        let lane = lane(&subject, &envelope.target);
        let id = self.message_id(record.as_ref());
        let payload = match codec::encode(&Logged { envelope, record }) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "an event cannot be written for the log");
                return done(Err(AppendError::NotStored));
            }
        };
        if payload.len() + HEADROOM > self.shared.client.server_info().max_payload {
            return done(Err(AppendError::TooLarge));
        }
        let message = Outgoing {
            subject,
            lane,
            id,
            payload,
        };
        let pipeline = self.shared.pipeline.clone();
        let published = move |fate: Result<_, AppendError>| match fate {
            Ok(crate::publisher::Stored {
                position,
                is_duplicate,
            }) => pipeline.when_completed(
                Appended {
                    position,
                    is_duplicate,
                },
                done,
            ),
            Err(error) => done(Err(error)),
        };
        self.shared.publisher.publish(message, Box::new(published));
    }

    fn cast(&self, cast: Cast) {
        self.ephemeral.cast(&cast);
        // A server-side event is for the others only.
        if matches!(cast, Cast::ServerSide { .. }) {
            return;
        }
        let own = Item::Own {
            namespace: self.token.clone(),
            cast,
        };
        // Casts are at most once; an eviction has been carried out here before it is cast.
        if self.shared.items.try_send(own).is_err() {
            self.shared.counters.own_casts_dropped.increment();
        }
    }

    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers> {
        self.ephemeral.request(request, timeout)
    }

    fn node_count(&self) -> usize {
        self.shared.broker.peers.count()
    }

    fn sessions(&self) -> &dyn Sessions {
        &self.shared.sessions
    }

    fn close(&self) {
        self.shared.pipeline.unfollow(&self.namespace);
        self.ephemeral.close();
    }
}
