//! The server that load tools drive, with a contract that does not change.
//!
//! `cargo run --release -p chatcluster-server --example workload`, environment `PORT` (3000; node i on `PORT` + i), `NODES`
//! (1), `RECOVERY=1`. Prints `READY`. Handlers: `join(room, ack)` joins and acknowledges `"ok"`; `echo(data, ack)`
//! acknowledges with data; `pub(room, data)` emits `m` with data to the room. SIGTERM drains. One thread for each node.

use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use chatcluster_engineio::serve;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::{
    AckSender, Arguments, Config, Data, Event, NodeId, Recovery, SocketIo, SocketRef,
};
use serde_json::value::RawValue;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let (port, nodes): (u16, u16) = (number("PORT", 3000)?, number("NODES", 1)?);
    let (stop, stopped) = watch::channel(false);
    let cluster = Memory::default();
    let mut threads = Vec::new();
    for index in 0..nodes {
        let listener = TcpListener::bind(("127.0.0.1", port + index))
            .with_context(|| format!("listen on port {}", port + index))?;
        threads.push(start(index, listener, &cluster, stopped.clone()));
    }
    println!("READY");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        signal(SignalKind::terminate())?.recv().await;
        anyhow::Ok(())
    })?;
    stop.send(true)?;
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

fn start(
    index: u16,
    listener: TcpListener,
    cluster: &Memory,
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<anyhow::Result<()>> {
    let cluster = cluster.node(NodeId::new(&index.to_string()));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async move {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let recovery = std::env::var("RECOVERY")
                .is_ok_and(|on| on == "1")
                .then(Recovery::default);
            let config = Config {
                recovery,
                ..Config::default()
            };
            let io = SocketIo::builder()
                .config(config)
                .cluster(cluster)
                .build()?;
            set_up(&io);
            let closing = io.clone();
            let stop = async move {
                if stopped.wait_for(|stop| *stop).await.is_ok() {
                    closing.close(Duration::from_secs(5)).await;
                }
            };
            serve::serve(listener, io.service(), serve::Options::default(), stop).await;
            Ok(())
        })
    })
}

fn set_up(io: &SocketIo) {
    io.ns("/", async || {})
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
