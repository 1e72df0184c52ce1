//! The steps of one round on one server, and the two measurements that stand beside them.

use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::load::{self, Load};
use crate::process::{Recipe, Server, Uses as _};
use crate::room::Rooms;
use crate::sample::{Cost, Effort, cost};

/// No step takes longer; a server that lost a delivery would otherwise be waited for without end.
const STEP_DEADLINE: Duration = Duration::from_secs(150);

/// The sizes of a run.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) idle_connections: usize,
    /// Time for a server to come to rest after the connections were opened.
    pub(crate) settle: Duration,
    pub(crate) effort: Effort,
    pub(crate) echo_sockets: usize,
    pub(crate) room_members: usize,
    pub(crate) room_windows: [usize; 3],
    pub(crate) store_senders: usize,
    pub(crate) store_time: Duration,
}

/// What one round says about one server.
pub(crate) struct Round {
    pub(crate) start_bytes: f64,
    pub(crate) bytes_per_connection: f64,
    pub(crate) connect_us: f64,
    pub(crate) echo_many: Cost,
    pub(crate) echo_one: Cost,
    /// Round-trip times with one echo in flight, in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) room: Vec<Cost>,
    /// One delivery in the room, without its WebSocket header.
    pub(crate) delivery: String,
}

/// Measures one server once: idle memory on a fresh process, the loads on another.
pub(crate) async fn round(recipe: &Recipe, plan: &Plan) -> Result<Round> {
    let server = Server::start(recipe).await?;
    let (start_bytes, bytes_per_connection, connect_us) = step("idle", idle(&server, plan)).await?;
    server.stop().await?;

    let server = Server::start(recipe).await?;
    let (echo_many, _) = step("echo", echo(&server, plan, plan.echo_sockets)).await?;
    let (echo_one, mut latencies) = step("echo, one in flight", echo(&server, plan, 1)).await?;
    let (room, delivery) = step("room", busy_room(&server, plan)).await?;
    server.stop().await?;

    latencies.sort_unstable();
    let percentile =
        |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]);
    let (p50_us, p99_us) = (percentile(0.5), percentile(0.99));
    Ok(Round {
        start_bytes,
        bytes_per_connection,
        connect_us,
        echo_many,
        echo_one,
        p50_us,
        p99_us,
        room,
        delivery,
    })
}

pub(crate) async fn step<T>(
    name: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(STEP_DEADLINE, work)
        .await
        .with_context(|| format!("{name}: not done in time"))?
        .context(name)
}

async fn idle(server: &Server, plan: &Plan) -> Result<(f64, f64, f64)> {
    // The first connections load code and grow pools; they are not what one more connection costs.
    drop(load::connect(server.address, 50).await?);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (bytes, cpu) = (server.resident_bytes()?, server.cpu()?);
    let clients = load::connect(server.address, plan.idle_connections).await?;
    let connecting = server.cpu()?.since(cpu);
    let mut load = load::idle(clients);
    let settled = load
        .during(async {
            tokio::time::sleep(plan.settle).await;
            server.resident_bytes()
        })
        .await?;
    let count = plan.idle_connections as f64;
    Ok((
        bytes,
        (settled - bytes) / count,
        connecting.total() * 1e6 / count,
    ))
}

async fn echo(server: &Server, plan: &Plan, sockets: usize) -> Result<(Cost, Vec<u32>)> {
    let clients = load::connect(server.address, sockets).await?;
    let (mut load, latencies) = load::echo(clients);
    let done = Rc::clone(&load.done);
    let cost = load.during(cost(server, plan.effort, &done)).await?;
    Ok((cost, latencies.take()))
}

async fn busy_room(server: &Server, plan: &Plan) -> Result<(Vec<Cost>, String)> {
    let clients = load::connect(server.address, plan.room_members + 1).await?;
    let mut room = Rooms::one(clients).await?;
    room.stay_awake();
    let mut costs = Vec::new();
    for window in plan.room_windows {
        costs.push(
            room.publishing(window, async |done| cost(server, plan.effort, done).await)
                .await?,
        );
    }
    Ok((costs, room.delivery()))
}

/// The echo load by the official client; CPU of the server per echo.
pub(crate) async fn foreign_echo(recipe: &Recipe, plan: &Plan) -> Result<Cost> {
    let server = Server::start(recipe).await?;
    let mut client = Command::new("node")
        .args([
            "bench/foreign-echo.mjs",
            &server.address.port().to_string(),
            &plan.echo_sockets.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start the official client")?;
    let mut lines = BufReader::new(client.stdout.take().context("no standard output")?).lines();
    let first = timeout(STEP_DEADLINE, lines.next_line())
        .await
        .context("the official client does not connect")??;
    ensure!(
        first.as_deref() == Some("READY"),
        "the official client does not connect"
    );

    let mut load = Load::new();
    let done = Rc::clone(&load.done);
    load.tasks.spawn_local(async move {
        while let Some(line) = lines.next_line().await? {
            done.set(line.parse()?);
        }
        Ok(())
    });
    let done = Rc::clone(&load.done);
    let cost = step(
        "echo by socket.io-client",
        load.during(cost(&server, plan.effort, &done)),
    )
    .await?;
    client.kill().await?;
    server.stop().await?;
    Ok(cost)
}

/// What the message store does under load.
pub(crate) struct Store {
    pub(crate) messages_per_second: f64,
    /// Transactions, if the server counts them.
    pub(crate) commits_per_second: Option<f64>,
    pub(crate) cpu_us_per_message: f64,
}

/// Chat messages acknowledged as stored by the chat server, every sender one in flight.
pub(crate) async fn store(recipe: &Recipe, admin_port: u16, plan: &Plan) -> Result<Store> {
    let server = Server::start_listening(recipe).await?;
    let clients = load::connect(server.address, plan.store_senders).await?;
    let mut load = load::messages(clients);
    let done = Rc::clone(&load.done);
    let measure = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (commits, count, cpu, began) = (
            commits(admin_port).await,
            done.get(),
            server.cpu()?,
            Instant::now(),
        );
        tokio::time::sleep(plan.store_time).await;
        let (seconds, messages) = (began.elapsed().as_secs_f64(), (done.get() - count) as f64);
        ensure!(messages > 0.0, "nothing was stored");
        let cpu = server.cpu()?.since(cpu).total();
        let committed = self::commits(admin_port)
            .await
            .zip(commits)
            .map(|(after, before)| after - before);
        Ok(Store {
            messages_per_second: messages / seconds,
            commits_per_second: committed.map(|commits| commits / seconds),
            cpu_us_per_message: cpu * 1e6 / messages,
        })
    };
    let store = step("store", load.during(measure)).await?;
    drop(load);
    server.stop().await?;
    Ok(store)
}

/// The server's own count of committed transactions.
async fn commits(admin_port: u16) -> Option<f64> {
    let page = timeout(
        Duration::from_secs(5),
        crate::client::get(
            (std::net::Ipv4Addr::LOCALHOST, admin_port).into(),
            "/metrics",
        ),
    );
    let page = page.await.ok()?.ok()?;
    let line = page.lines().find(|line| {
        !line.starts_with('#') && line.starts_with("chatcluster_history_commits_total ")
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
