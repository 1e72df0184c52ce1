//! A node as the server makes it: a `SocketIo` on the cluster. It is joined until that succeeds, and lets clients in while it
//! is up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::level::Level;
use chatcluster_socketio::log::{AppendError, Appended, Record};
use chatcluster_socketio::{
    AckSender, Config, Data, Event, Namespace, NodeId, Recovery, SocketIo, SocketRef,
};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::time::sleep;

use crate::counters::Counters;
use crate::names::Names;
use crate::read_model::ReadModel;
use crate::{NatsCluster, Options};

use super::oracle::Book;
use super::ports::ports;
use super::rows::Rows;
use super::world::World;

/// How long a client may stay away.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
/// Between two pings, and how long one may go unanswered.
pub(super) const PING: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(6));
/// Bytes between a client and its node.
const PIPE: usize = 64 << 10;

pub(super) struct Node {
    pub(super) name: String,
    pub(super) link: usize,
    pub(super) io: SocketIo,
    pub(super) cluster: NatsCluster,
    /// 1 once it was killed.
    pub(super) is_dead: Level,
}

/// What a client asks to have published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Publish {
    pub(super) id: u64,
    /// Nobody's room: everybody.
    pub(super) room: Option<String>,
    /// Stored, and so one message however often it is sent.
    pub(super) is_kept: bool,
}

fn config() -> Config {
    let mut config = Config {
        recovery: Some(Recovery {
            window: WINDOW,
            ..Recovery::default()
        }),
        ..Config::default()
    };
    (config.engine.ping_interval, config.engine.ping_timeout) = PING;
    config
}

impl Node {
    /// Starts a node; resolves when it has read the log.
    pub(super) async fn start(world: &Arc<World>, book: &Arc<Book>, name: String) -> Arc<Self> {
        let (link, cluster) = Self::join(world, &name).await;
        cluster.sweep_sessions(WINDOW);
        let config = config();
        let io = SocketIo::builder()
            .config(config)
            .cluster(Arc::new(cluster.clone()))
            .build()
            .unwrap();
        set_up(&io, book);
        cluster.caught_up().await;
        world.note(format_args!("node {name} is there, on link {link}"));
        Arc::new(Self {
            name,
            link,
            io,
            cluster,
            is_dead: Level::default(),
        })
    }

    async fn join(world: &Arc<World>, name: &str) -> (usize, NatsCluster) {
        let rows = Rows::new(world.clone());
        let span = config().span(&config().recovery.unwrap());
        let options = Arc::new(Options {
            window: span,
            ..Options::new("", "simulated")
        });
        loop {
            let (ports, link) = ports(world, name);
            let models = HashMap::from([("/".to_owned(), rows.clone() as Arc<dyn ReadModel>)]);
            let joined = NatsCluster::enter(
                ports,
                options.clone(),
                Names::new("simulated").unwrap(),
                NodeId::new(name),
                models,
                Arc::new(Counters::default()),
            );
            match joined.await {
                Ok(cluster) => return (link, cluster),
                Err(error) => {
                    world.note(format_args!("node {name} cannot join: {error}"));
                    world.with(|state| state.bury(link));
                }
            }
            sleep(Duration::from_millis(400)).await;
        }
    }

    pub(super) fn main(&self) -> Arc<Namespace> {
        self.io.of("/").unwrap()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_dead.get() == 0 && self.cluster.behind() == 0
    }

    /// A connection of a client. While the node is not up to date nobody answers.
    pub(super) fn knock(&self) -> Option<DuplexStream> {
        if !self.is_ready() {
            return None;
        }
        let (near, far) = tokio::io::duplex(PIPE);
        let service = TowerToHyperService::new(self.io.service());
        let served = http1::Builder::new()
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades();
        tokio::spawn(async move {
            // A client that goes in the middle of it is an error here.
            let _ended = served.await;
        });
        Some(near)
    }

    /// Ends without a word: nothing that it does from now on is seen by anybody.
    pub(super) fn kill(&self, world: &World) {
        world.with(|state| state.bury(self.link));
        world.note(format_args!("node {} is killed", self.name));
        self.is_dead.set(1);
        let (io, cluster) = (self.io.clone(), self.cluster.clone());
        tokio::spawn(async move {
            cluster.close().await;
            io.close(Duration::ZERO).await;
        });
    }

    /// Ends in order.
    pub(super) async fn stop(&self, world: &World) {
        world.note(format_args!("node {} stops", self.name));
        // In an order that is the same each time: the engine's is that of random ids.
        for socket in self.main().local_sockets() {
            socket.close_transport();
        }
        self.io.close(Duration::from_millis(500)).await;
        self.cluster.close().await;
        self.is_dead.set(1);
        world.with(|state| state.bury(self.link));
        world.note(format_args!("node {} has stopped", self.name));
    }
}

fn set_up(io: &SocketIo, book: &Arc<Book>) {
    let connected = book.clone();
    io.ns("/", move |s: SocketRef| {
        if !s.recovered() {
            connected.connected(s.id().to_string(), s.position());
        }
        std::future::ready(())
    })
    .on(
        "join",
        async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            s.join(room.clone()).await;
            let joined = s.joined_at(&room).unwrap_or(u64::MAX);
            let _closed = ack.send(&json!({ "to": joined }));
        },
    )
    .on(
        "leave",
        async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            s.leave(room).await;
            let _closed = ack.send(&json!({ "to": s.position() }));
        },
    )
    .on(
        "publish",
        async |s: SocketRef, Data(publish): Data<Publish>, ack: AckSender| {
            append(&s, &publish, ack);
        },
    );
}

/// The log decides while others act.
fn append(s: &SocketRef, publish: &Publish, ack: AckSender) {
    let event = Event::new("news", &publish.id).unwrap();
    let mut to = s.namespace().all();
    if let Some(room) = &publish.room {
        to = to.to(room.clone());
    }
    let mut key = [0; 16];
    key[..8].copy_from_slice(&publish.id.to_be_bytes());
    let record = publish.is_kept.then(|| Record {
        key,
        room: "".into(),
        body: "{}".into(),
    });
    to.append_then(event, record, move |fate: Result<Appended, AppendError>| {
        let _closed = match fate {
            Ok(appended) => ack.send(&json!({ "position": appended.position })),
            Err(error) => ack.send(&json!({ "error": error.to_string() })),
        };
    });
}
