//! The process: opens what the nodes share, starts them, waits for the signal to stop, and ends in order.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chatcluster_chat_api as api;
use chatcluster_engineio::serve;
use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::log::{Store, position_by_clock};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::auth::Authenticator;
use crate::backend::{Backend, SharedTokens};
use crate::chat::{self, Chat};
use crate::drain::Drain;
use crate::files::Watched;
use crate::history::{self, History};
use crate::http::{self, Flag, Readiness};
use crate::live::Live;
use crate::membership::Membership;
use crate::metrics::scrape::Sample;
use crate::metrics::{Metrics, nats, sockets};
use crate::node::{self, Entrance, Node, Place, socket_config};
use crate::relay::Relay;
use crate::reload::Reload;
use crate::settings::Source;

/// Runs the server until it is told to stop (SIGTERM, SIGINT). `POST /drain` drains it before that.
///
/// # Errors
/// What could not be opened, bound or read at start; nothing is served then.
pub fn run(source: Source) -> anyhow::Result<()> {
    let config = &source.config().clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let mut signals = Signals::new()?;
    crate::files::raise_limit(config.limits.connections);
    let listeners = bind_nodes(config)?;
    let admin = bind("adminListen", config.admin_listen)?;
    let (shared, keys) = Shared::open(config)?;
    let mut backend = Backend::open(config, &shared.metrics)?;
    let tokens = backend.as_mut().and_then(Backend::take_token_file);
    let reload = shared.reload(source, keys, tokens);
    let nodes = shared.start(listeners, backend, config)?;
    let drain = shared.drain(&nodes);
    let routes = http::admin(&shared.readiness, &shared.metrics, &drain, &reload.status());
    runtime.spawn(serve_admin(admin, routes)?);
    runtime.spawn(reload.run());
    shared.accepting.set(true);
    announce(&nodes, config);

    runtime.block_on(async {
        tokio::select! {
            () = serve_until_told(&mut signals, &drain, &shared.live) => {}
            () = one_has_ended(&nodes) => {}
        }
    });
    nodes.iter().for_each(Node::stop);
    // All at once, and beside the probes, which are answered to the end.
    let ended = tokio::task::spawn_blocking(|| -> anyhow::Result<()> {
        let ended: Vec<_> = nodes.into_iter().map(Node::join).collect();
        ended.into_iter().collect()
    });
    let ended = runtime.block_on(ended);
    // Last: whatever the nodes had taken for storing is committed.
    shared.history.close();
    tracing::info!("stopped");
    ended.context("wait for the nodes")?
}

/// A node ends by itself only when it cannot serve.
async fn one_has_ended(nodes: &[Node]) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while !nodes.iter().any(Node::has_ended) {
        ticks.tick().await;
    }
}

/// Returns when the process has to end. A drain that was asked for by `POST /drain` does not end it: a signal does, in
/// the middle of it by joining it.
async fn serve_until_told(signals: &mut Signals, drain: &Drain, live: &Live) {
    let told = tokio::select! {
        told = signals.wait() => Some(told),
        () = drain.begun() => None,
    };
    let mut pace = live.now().drain.clone();
    if told == Some(Told::Interrupt) {
        // Somebody at a terminal: there is nobody who has to learn that this server is going.
        pace.settle = Duration::ZERO;
    }
    let mut is_told = told.is_some();
    let mut draining = pin!(drain.run(&pace));
    loop {
        tokio::select! {
            () = &mut draining => break,
            _ = signals.wait() => {
                if is_told {
                    tracing::warn!("told to stop again: not waiting for the drain");
                    return;
                }
                is_told = true;
                tracing::info!("told to stop: when the drain is done");
            }
        }
    }
    if !is_told {
        signals.wait().await;
    }
}

/// What the nodes of the process have in common.
struct Shared {
    history: Arc<History>,
    membership: Option<Arc<Membership>>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    accepting: Flag,
}

impl Shared {
    /// Also the file of the keys that tokens are signed with, if there is one.
    fn open(config: &api::Config) -> anyhow::Result<(Self, Option<Watched>)> {
        let history = History::open(&history_options(config))
            .with_context(|| format!("open the history in {}", config.data_dir.display()))?;
        let readiness = Arc::new(Readiness::default());
        let accepting = readiness.flag("accepting", "the server is starting or draining");
        let history = Arc::new(history);
        let writing = history.clone();
        readiness.add("history", move || {
            let fails = || "the history cannot be written".to_owned();
            writing.is_writing().then_some(()).ok_or_else(fails)
        });
        let membership = membership(config, &history)?;
        if let Some(membership) = membership.clone() {
            readiness.add("nats", move || membership.check());
        }
        let (authenticator, keys) = Authenticator::load(&config.auth)?;
        let shared = Self {
            history,
            membership,
            live: Arc::new(Live::new(config, authenticator)),
            metrics: Arc::new(Metrics::new()),
            readiness,
            accepting,
        };
        Ok((shared, keys))
    }

    /// What looks at the files that may change.
    fn reload(
        &self,
        source: Source,
        keys: Option<Watched>,
        tokens: Option<(Watched, SharedTokens)>,
    ) -> Reload {
        let (live, metrics) = (Arc::clone(&self.live), Arc::clone(&self.metrics));
        Reload::new(source, keys, tokens, live, metrics)
    }

    fn start(
        &self,
        listeners: Vec<TcpListener>,
        mut backend: Option<Backend>,
        config: &api::Config,
    ) -> anyhow::Result<Vec<Node>> {
        let store: Arc<dyn Store> = self.history.clone();
        let cluster = Memory::new(HashMap::from([("/".to_owned(), store)]));
        let threads = threads_per_node(listeners.len());
        let mut nodes = Vec::new();
        for (index, listener) in (0u16..).zip(listeners) {
            let name = index.to_string();
            let parts = chat::Parts {
                history: self.history.clone(),
                live: Arc::clone(&self.live),
                metrics: self.metrics.clone(),
                membership: self.membership.clone(),
            };
            let (name, place) = match &self.membership {
                Some(membership) => (
                    membership.node().as_str().to_owned(),
                    Place::OnNats(membership.clone()),
                ),
                None => {
                    let place = Place::Here(cluster.node(NodeId::new(&name)));
                    (name, place)
                }
            };
            let parts = node::Parts {
                index,
                listener,
                place,
                chat: Chat::new(name, parts),
                routes: http::public(&self.readiness, config.cors.clone()),
                // One node speaks to all.
                backend: backend.take(),
                live: Arc::clone(&self.live),
                threads,
            };
            nodes.push(Node::start(parts, config).with_context(|| format!("start node {index}"))?);
        }
        self.export(&nodes);
        Ok(nodes)
    }

    /// The drain of these nodes, which is shown to Prometheus, too.
    fn drain(&self, nodes: &[Node]) -> Arc<Drain> {
        let entrances = nodes.iter().map(Node::entrance).collect();
        let relay = self.membership.as_ref().and_then(|m| m.relay().cloned());
        let drain = Drain::new(entrances, self.accepting.clone()).with_relay(relay);
        let drain = Arc::new(drain);
        let shown = drain.clone();
        self.metrics.add_samples(move || shown.samples());
        drain
    }

    /// Shows the socket layers' counts to Prometheus.
    fn export(&self, nodes: &[Node]) {
        self.metrics.add_history(self.history.measures());
        if let Some(membership) = self.membership.clone() {
            if let Some(relay) = membership.relay() {
                self.metrics.add_relay(relay.measures());
            }
            self.metrics.add_samples(move || nats_samples(&membership));
        }
        let entrances: Vec<_> = nodes.iter().map(Node::entrance).collect();
        self.metrics.add_samples(move || {
            let servers: Vec<_> = entrances.iter().filter_map(Entrance::io).collect();
            let engines: Vec<_> = servers.iter().map(|io| io.engine().counters()).collect();
            let layers: Vec<_> = servers.iter().map(|io| io.counters()).collect();
            let mut samples = sockets::engine_samples(&engines);
            samples.extend(sockets::socket_samples(&layers));
            let namespaces = servers.iter().flat_map(|io| io.namespaces());
            let held: usize = namespaces.map(|namespace| namespace.window_bytes()).sum();
            let help = "Bytes of the log held in memory for recovery";
            samples.push(Sample::gauge("memory_window_bytes", help, held as u64));
            samples
        });
    }
}

fn nats_samples(membership: &Membership) -> Vec<Sample> {
    let mut samples = membership.cluster().map(nats::samples).unwrap_or_default();
    let help =
        "1 while clients are sent to other servers, because this one alone cannot read the log";
    let is_handed_over = u64::from(membership.is_handed_over());
    samples.push(Sample::gauge("nats_handed_over", help, is_handed_over));
    samples
}

/// Alone, the history is where messages are stored; in a cluster, this server's copy of what its log stores.
fn history_options(config: &api::Config) -> history::Options {
    match &config.nats {
        Some(nats) => history::Options::read_model(&config.data_dir, &nats.prefix),
        None => history::Options {
            retention: config.history.retention,
            // The log begins here, and tells so.
            taken_positions: position_by_clock(),
            ..history::Options::new(&config.data_dir)
        },
    }
}

fn membership(
    config: &api::Config,
    history: &Arc<History>,
) -> anyhow::Result<Option<Arc<Membership>>> {
    let Some(nats) = &config.nats else {
        return Ok(None);
    };
    let sockets = socket_config(config);
    let span = sockets.recovery.as_ref();
    let span = span.map_or(Duration::ZERO, |recovery| sockets.span(recovery));
    let window = config.recovery.as_ref().map(|recovery| recovery.window);
    let membership = Membership::new(
        nats,
        config.history.retention,
        (span, window),
        history.clone(),
    )?;
    let relay = Relay::bind(config)?;
    Ok(Some(Arc::new(membership.with_relay(relay))))
}

/// Node `i` listens on the port + `i`; the port 0 lets the system choose each.
fn bind_nodes(config: &api::Config) -> anyhow::Result<Vec<TcpListener>> {
    let count = match config.nodes {
        api::Nodes::Count(count) => count,
        api::Nodes::Auto => u16::try_from(cores())
            .unwrap_or(api::MAX_NODES)
            .min(api::MAX_NODES),
    };
    (0..count)
        .map(|index| {
            let mut address = config.listen;
            if address.port() != 0 {
                let port = address.port().checked_add(index);
                address.set_port(port.with_context(|| {
                    format!("listen: port {} + {index} is above 65535", address.port())
                })?);
            }
            bind("listen", address)
        })
        .collect()
}

fn bind(field: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("{field}: cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// All cores are used, however many nodes there are.
fn threads_per_node(nodes: usize) -> usize {
    cores().div_ceil(nodes.max(1))
}

fn serve_admin(
    listener: TcpListener,
    routes: axum::Router,
) -> anyhow::Result<impl Future<Output = ()>> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Probes are answered until the process ends.
    let never = std::future::pending::<()>();
    Ok(serve::serve(
        listener,
        routes,
        serve::Options::default(),
        never,
    ))
}

fn announce(nodes: &[Node], config: &api::Config) {
    for (index, node) in nodes.iter().enumerate() {
        tracing::info!(node = index, "listening on http://{}", node.address);
    }
    tracing::info!("metrics and probes on http://{}", config.admin_listen);
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[derive(PartialEq, Eq)]
enum Told {
    Terminate,
    Interrupt,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.interrupt.recv() => Told::Interrupt,
        }
    }
}
