//! Several servers and the broker that joins them: NATS for ours, Redis for Node's. Each cluster has a broker of its own,
//! with an empty store.

pub(crate) mod figures;
pub(crate) mod growth;
pub(crate) mod rooms;
pub(crate) mod sessions;
pub(crate) mod storm;
pub(crate) mod summary;
mod tables;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::client;
use crate::process::{Cores, Cpu, Recipe, Server, Uses, free_port};

/// A broker that has no leader by then has none.
const BROKER_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a broker that is starting.
const LOOK: Duration = Duration::from_millis(50);

/// What joins the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Ours, events logged in so many copies.
    Logged { replicas: usize },
    /// Ours, events not logged.
    Ephemeral,
    /// Node with `@socket.io/redis-adapter`.
    Redis,
    /// Node with `@socket.io/redis-streams-adapter`.
    RedisStreams,
}

impl Link {
    /// Whether an event ends with the offset that recovery needs.
    fn has_offsets(self) -> bool {
        matches!(self, Self::Logged { .. } | Self::RedisStreams)
    }
}

/// Running servers and their broker; all are killed if dropped.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) brokers: Vec<Server>,
    /// Where a broker tells about itself, if it does.
    pub(crate) monitor: Option<u16>,
    recipes: Vec<Recipe>,
    _store: TempDir,
}

impl Uses for Cluster {
    fn cpu(&self) -> Result<Cpu> {
        Ok(self.servers.cpu()?.and(self.brokers.cpu()?))
    }
}

impl Cluster {
    /// Starts the broker, then so many servers, one after another.
    pub(crate) async fn start(link: Link, servers: usize, cores: Cores) -> Result<Self> {
        let store = tempfile::tempdir()?;
        let (brokers, monitor) = match link {
            Link::Logged { replicas } => nats(&store, replicas, cores).await?,
            Link::Ephemeral => nats(&store, 1, cores).await?,
            Link::Redis | Link::RedisStreams => (vec![redis(cores).await?], None),
        };
        let ports = brokers.iter().map(|broker| broker.address.port());
        let recipes = ports
            .map(|port| server(link, port, cores))
            .collect::<Result<_>>()?;
        let mut cluster = Self {
            servers: Vec::new(),
            brokers,
            monitor,
            recipes,
            _store: store,
        };
        for _ in 0..servers {
            cluster.add_server().await?;
        }
        Ok(cluster)
    }

    /// Starts one more server, which is given the next broker.
    pub(crate) async fn add_server(&mut self) -> Result<()> {
        let recipe = &self.recipes[self.servers.len() % self.recipes.len()];
        self.servers.push(Server::start(recipe).await?);
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        for server in self.servers.into_iter().chain(self.brokers) {
            server.stop().await?;
        }
        Ok(())
    }
}

/// A server of the workload contract, recovery on, joined to the broker at a port.
fn server(link: Link, broker: u16, cores: Cores) -> Result<Recipe> {
    let nats = ("NATS_URL", format!("nats://127.0.0.1:{broker}"));
    let redis = ("REDIS_URL", format!("redis://127.0.0.1:{broker}"));
    let (is_ours, url, kind) = match link {
        Link::Logged { replicas } => (true, nats, ("NATS_REPLICAS", replicas.to_string())),
        Link::Ephemeral => (true, nats, ("DELIVERY", "Ephemeral".to_owned())),
        Link::Redis => (false, redis, ("ADAPTER", "redis".to_owned())),
        Link::RedisStreams => (false, redis, ("ADAPTER", "redis-streams".to_owned())),
    };
    let mut recipe = crate::recipe(if is_ours {
        vec![crate::built("examples/workload")?]
    } else {
        vec!["node".into(), "bench/node-server.mjs".into()]
    });
    recipe.cores = cores;
    recipe.environment.extend([url, kind]);
    Ok(recipe)
}

/// Redis without persistence, which is its fastest form.
async fn redis(cores: Cores) -> Result<Server> {
    let arguments = [
        "redis-server",
        "--port",
        "{port}",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    Server::start_listening(&Recipe {
        command: arguments.map(String::from).to_vec(),
        environment: vec![],
        cores,
    })
    .await
}

/// Where the nats-server is that `make nats` builds.
pub(crate) fn nats_server() -> PathBuf {
    env::var_os("CHATCLUSTER_NATS_SERVER")
        .map_or_else(|| ".tools/bin/nats-server".into(), PathBuf::from)
}

/// One nats-server, or several that form a cluster; JetStream on files. Returns when they have a leader.
async fn nats(store: &TempDir, count: usize, cores: Cores) -> Result<(Vec<Server>, Option<u16>)> {
    let program = nats_server();
    ensure!(
        program.exists(),
        "{} is missing: run `make nats`",
        program.display()
    );
    let monitor = free_port()?;
    let routes = (0..count)
        .map(|_| free_port())
        .collect::<Result<Vec<_>>>()?;
    let all_routes: Vec<String> = routes
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let mut brokers = Vec::new();
    for (index, route) in all_routes.iter().enumerate() {
        let file = store.path().join(format!("{index}.conf"));
        let monitor = (index == 0).then_some(monitor);
        std::fs::write(&file, config(store, index, monitor, (route, &all_routes)))?;
        let arguments = ["-a", "127.0.0.1", "-p", "{port}", "-c"].map(String::from);
        let recipe = Recipe {
            command: [vec![text(&program)], arguments.to_vec(), vec![text(&file)]].concat(),
            environment: vec![],
            cores,
        };
        brokers.push(Server::start_listening(&recipe).await?);
    }
    let began = Instant::now();
    while !is_led(monitor, count).await {
        ensure!(
            began.elapsed() < BROKER_DEADLINE,
            "the nats-servers have no leader in time"
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok((brokers, Some(monitor)))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The settings of one nats-server: the defaults, and what makes it one of several.
fn config(
    store: &TempDir,
    index: usize,
    monitor: Option<u16>,
    (route, all_routes): (&str, &[String]),
) -> String {
    let folder = text(store.path());
    let mut config = format!(
        "server_name: bench{index}\nlogfile: \"{folder}/{index}.log\"\njetstream {{ store_dir: \"{folder}/{index}\" }}\n"
    );
    if let Some(port) = monitor {
        config.push_str(&format!("http: \"127.0.0.1:{port}\"\n"));
    }
    if all_routes.len() > 1 {
        let listen = route.trim_start_matches("nats://");
        let routes = all_routes.join(", ");
        config.push_str(&format!(
            "cluster {{ name: bench, listen: \"{listen}\", routes: [{routes}] }}\n"
        ));
    }
    config
}

/// Whether JetStream is there, with all its servers.
async fn is_led(monitor: u16, count: usize) -> bool {
    let page = client::get(([127, 0, 0, 1], monitor).into(), "/jsz").await;
    let Ok(page) = page else {
        return false;
    };
    count == 1
        || page.contains(&format!("\"cluster_size\": {count}")) && page.contains("\"leader\": \"")
}

/// The versions of the brokers, for the report.
pub(crate) fn versions() -> Result<String> {
    let nats = crate::machine::output(&nats_server().to_string_lossy(), &["--version"])?;
    let redis = crate::machine::output("redis-server", &["--version"])?;
    let redis = redis
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .context("no version of Redis")?;
    Ok(format!(
        "{nats}, Redis {redis}, @socket.io/redis-adapter {}, @socket.io/redis-streams-adapter {}, ioredis {}",
        crate::machine::package("@socket.io/redis-adapter")?,
        crate::machine::package("@socket.io/redis-streams-adapter")?,
        crate::machine::package("ioredis")?,
    ))
}
