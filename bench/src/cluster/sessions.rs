//! Very many sessions: what they take in the broker's bucket, how fast they are written, and that nothing is written while
//! they are idle.
//!
//! The connections are held by processes of their own, because a process may have only so many files; there are as many
//! servers for the same reason.

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::{Cluster, Link};
use crate::client;
use crate::load;
use crate::process::{Cores, Server, resident_bytes};

/// Connections of one process at most, and files that it needs for other things.
const MOST_CONNECTIONS: usize = 50_000;
const OTHER_FILES: usize = 500;
/// How the bucket's name ends.
const BUCKET: &str = "_sessions";
/// All must be connected by then.
const DEADLINE: Duration = Duration::from_secs(300);
/// From the last connect until the idle time begins.
const SETTLE: Duration = Duration::from_secs(5);

/// What very many sessions are.
pub(crate) struct Sessions {
    pub(crate) sessions: usize,
    pub(crate) servers: usize,
    pub(crate) connect_seconds: f64,
    pub(crate) connect_writes: f64,
    /// In the bucket, once all are connected.
    pub(crate) records: f64,
    pub(crate) bytes: f64,
    pub(crate) idle_seconds: f64,
    pub(crate) idle_writes: f64,
    pub(crate) server_bytes: f64,
    pub(crate) broker_bytes: f64,
    pub(crate) client_bytes: f64,
}

/// The bucket of the sessions at one time.
#[derive(Clone, Copy)]
struct Bucket {
    records: f64,
    bytes: f64,
    writes: f64,
}

/// Opens so many sessions, then leaves them alone for `idle`.
pub(crate) async fn sessions(count: usize, idle: Duration) -> Result<Sessions> {
    let each = MOST_CONNECTIONS.min(open_files()?.saturating_sub(OTHER_FILES));
    let servers = count.div_ceil(each).max(2);
    let cluster = Cluster::start(Link::Logged { replicas: 1 }, servers, Cores::All).await?;
    let monitor = cluster.monitor.context("the broker has no monitor")?;
    let (before, began) = (bucket(monitor).await?, Instant::now());
    let mut holders = Vec::new();
    for (index, server) in cluster.servers.iter().enumerate() {
        let mine = count / servers + usize::from(index < count % servers);
        holders.push(Holder::start(server, mine)?);
    }
    for holder in &mut holders {
        timeout(DEADLINE, holder.ready())
            .await
            .context("not all connected in time")??;
    }
    let connect_seconds = began.elapsed().as_secs_f64();
    let connected = bucket(monitor).await?;
    sleep(SETTLE).await;
    let (rested, began) = (bucket(monitor).await?, Instant::now());
    sleep(idle).await;
    let idled = bucket(monitor).await?;
    let memory =
        |servers: &[Server]| -> Result<f64> { servers.iter().map(Server::resident_bytes).sum() };
    Ok(Sessions {
        sessions: count,
        servers,
        connect_seconds,
        connect_writes: connected.writes - before.writes,
        records: idled.records,
        bytes: idled.bytes,
        idle_seconds: began.elapsed().as_secs_f64(),
        idle_writes: idled.writes - rested.writes,
        server_bytes: memory(&cluster.servers)?,
        broker_bytes: memory(&cluster.brokers)?,
        client_bytes: holders
            .iter()
            .map(Holder::resident_bytes)
            .sum::<Result<f64>>()?,
    })
}

/// Files that a process may have open.
fn open_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let limit = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    limit.context("no limit of open files in /proc/self/limits")
}

/// What the broker says of the bucket of sessions.
async fn bucket(monitor: u16) -> Result<Bucket> {
    let page = client::get(
        (Ipv4Addr::LOCALHOST, monitor).into(),
        "/jsz?accounts=true&streams=true",
    )
    .await?;
    let (_, body) = page.split_once("\r\n\r\n").context("no body")?;
    let page: serde_json::Value = serde_json::from_str(body)?;
    let accounts = page["account_details"].as_array().into_iter().flatten();
    let streams =
        accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    let state = streams
        .filter(|stream| {
            stream["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("KV_") && name.ends_with(BUCKET))
        })
        .map(|stream| &stream["state"])
        .next()
        .context("no bucket of sessions")?;
    let number = |name: &str| {
        state[name]
            .as_f64()
            .with_context(|| format!("the bucket has no {name}"))
    };
    Ok(Bucket {
        records: number("messages")?,
        bytes: number("bytes")?,
        writes: number("last_seq")?,
    })
}

/// A process that holds connections.
struct Holder {
    child: Child,
    pid: String,
}

impl Holder {
    fn start(server: &Server, count: usize) -> Result<Self> {
        let child = Command::new("taskset")
            .args(["-c", "0-1023"])
            .arg(env::current_exe()?)
            .args([
                "hold",
                &server.address.port().to_string(),
                &count.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start a process that holds connections")?;
        let pid = child.id().context("it has ended already")?.to_string();
        Ok(Self { child, pid })
    }

    async fn ready(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        ensure!(
            line.as_deref() == Some("READY"),
            "a process that holds connections has ended"
        );
        Ok(())
    }

    fn resident_bytes(&self) -> Result<f64> {
        resident_bytes(&self.pid)
    }
}

/// What such a process does: connects, says READY, answers pings until its standard input ends.
pub(crate) async fn hold(port: u16, count: usize) -> Result<()> {
    let clients = load::connect((Ipv4Addr::LOCALHOST, port).into(), count).await?;
    let mut load = load::idle(clients);
    println!("READY");
    load.during(async {
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        Ok(())
    })
    .await
}
