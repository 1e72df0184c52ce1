//! The server that load tools drive, with a contract that does not change.
//!
//! `cargo run --release -p chatcluster-server --example workload`, environment `PORT` (3000; node i on `PORT` + i), `NODES`
//! (1), `RECOVERY=1`, `DELIVERY=Ephemeral` (`Logged`); `NATS_URL`, `NATS_PREFIX` (`workload`) and `NATS_REPLICAS` (1) join it
//! to a cluster. Prints `READY`. Handlers: `join(room, ack)` joins and acknowledges `"ok"`; `echo(data, ack)` acknowledges
//! with data; `pub(room, data)` emits `m` with data to the room. SIGTERM drains. One thread for each node.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use chatcluster_engineio::serve;
use chatcluster_socketio::adapter::Cluster;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::{
    AckSender, Arguments, Config, Data, Delivery, Event, NodeId, Recovery, SocketIo, SocketRef,
};
use chatcluster_socketio_nats::NatsCluster;
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let (port, nodes): (u16, u16) = (number("PORT", 3000)?, number("NODES", 1)?);
    let (stop, stopped) = watch::channel(false);
    let cluster = Memory::default();
    let (joined, all_joined) = mpsc::channel();
    let mut threads = Vec::new();
    for index in 0..nodes {
        let listener = TcpListener::bind(("127.0.0.1", port + index))
            .with_context(|| format!("listen on port {}", port + index))?;
        let node = Node {
            index,
            listener,
            memory: cluster.clone(),
            stopped: stopped.clone(),
            joined: Some(joined.clone()),
        };
        threads.push(std::thread::spawn(move || serve(node)));
    }
    drop(joined);
    // A node that failed says why when its thread is joined.
    if all_joined.iter().take(threads.len()).count() == threads.len() {
        println!("READY");
    } else {
        stop.send_replace(true);
        return end(threads);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        anyhow::Ok(())
    })?;
    stop.send(true)?;
    end(threads)
}

fn end(threads: Vec<JoinHandle<anyhow::Result<()>>>) -> anyhow::Result<()> {
    for thread in threads {
        match thread.join() {
            Ok(served) => served?,
            Err(_) => anyhow::bail!("a node's thread panicked"),
        }
    }
    Ok(())
}

fn number(name: &str, default: u16) -> anyhow::Result<u16> {
    std::env::var(name).map_or(Ok(default), |text| {
        text.parse()
            .with_context(|| format!("{name}: a number is expected"))
    })
}

struct Node {
    index: u16,
    listener: TcpListener,
    memory: Memory,
    stopped: watch::Receiver<bool>,
    joined: Option<mpsc::Sender<()>>,
}

fn serve(node: Node) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_until_stopped(node))
}

async fn serve_until_stopped(mut node: Node) -> anyhow::Result<()> {
    node.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(node.listener)?;
    let recovery = std::env::var("RECOVERY")
        .is_ok_and(|on| on == "1")
        .then(Recovery::default);
    let config = Config {
        recovery,
        ..Config::default()
    };
    let nats = join(node.index).await?;
    let cluster: Arc<dyn Cluster> = match nats.clone() {
        Some(nats) => Arc::new(nats),
        None => node.memory.node(NodeId::new(&node.index.to_string())),
    };
    let io = SocketIo::builder()
        .config(config)
        .cluster(cluster)
        .build()?;
    set_up(&io, delivery()?);
    if let Some(nats) = &nats {
        nats.sweep_sessions(Recovery::default().window);
        nats.caught_up().await;
    }
    // Dropped with that: who waits for all must not wait for one that has failed.
    if let Some(joined) = node.joined.take() {
        joined.send(())?;
    }
    let closing = io.clone();
    let stop = async move {
        if node.stopped.wait_for(|stop| *stop).await.is_ok() {
            closing.close(Duration::from_secs(5)).await;
        }
    };
    serve::serve(listener, io.service(), serve::Options::default(), stop).await;
    if let Some(nats) = nats {
        nats.close().await;
    }
    Ok(())
}

/// The cluster that the environment names, if it names one.
async fn join(index: u16) -> anyhow::Result<Option<NatsCluster>> {
    let Ok(url) = std::env::var("NATS_URL") else {
        return Ok(None);
    };
    let prefix = std::env::var("NATS_PREFIX").unwrap_or_else(|_| "workload".to_owned());
    let node = NodeId::new(&format!("{}-{index}", std::process::id()));
    let options = chatcluster_socketio_nats::Options {
        replicas: number("NATS_REPLICAS", 1)?.into(),
        ..chatcluster_socketio_nats::Options::new(url, prefix)
    };
    let cluster = NatsCluster::join(options, node, HashMap::new()).await;
    Ok(Some(
        cluster.context("join the cluster that NATS_URL names")?,
    ))
}

fn delivery() -> anyhow::Result<Delivery> {
    match std::env::var("DELIVERY").as_deref() {
        Ok("Ephemeral") => Ok(Delivery::Ephemeral),
        Ok("Logged") | Err(_) => Ok(Delivery::Logged),
        Ok(other) => anyhow::bail!("DELIVERY: Logged or Ephemeral is expected, not {other}"),
    }
}

fn set_up(io: &SocketIo, delivery: Delivery) {
    io.ns_with("/", delivery, async || {})
        .on("join", async |s: SocketRef, Data(room): Data<String>, ack: AckSender| {
            s.join(room).await;
            if let Err(error) = ack.send("ok") {
                eprintln!("join: {error}");
            }
        })
        .on("echo", async |data: Arguments, ack: AckSender| ack.send_arguments(&data))
        .on("pub", async |s: SocketRef, Data((room, data)): Data<(String, Box<RawValue>)>| {
            match Event::new("m", &data) {
                Ok(event) => s.within(room).emit_event(event),
                Err(error) => eprintln!("pub: {error}"),
            }
        });
}
