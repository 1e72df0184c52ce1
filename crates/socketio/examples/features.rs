//! Everything that the Socket.IO layer offers and the chat does not use, for the tests with official clients.
//!
//! Its contract is `tests/compat/client/features.md`. `cargo run -p chatcluster-socketio --example features`.

#[path = "features/handlers.rs"]
mod handlers;
#[path = "features/spec.rs"]
mod spec;

use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::{Cors, serve};
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::{
    Arguments, Config, ConnectError, Connecting, Delivery, NodeId, Recovery, SocketIo,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_nodes())
}

/// A number from the environment.
fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    Ok(std::env::var(name).map_or(Ok(default), |text| text.parse())?)
}

fn config() -> anyhow::Result<Config> {
    let mut config = Config {
        connect_timeout: Duration::from_millis(number("CONNECT_TIMEOUT_MS", 45_000)?),
        recovery: (number("RECOVERY", 0)? == 1).then(Recovery::default),
        ..Config::default()
    };
    config.engine.ping_interval = Duration::from_millis(number("PING_INTERVAL_MS", 25_000)?);
    config.engine.ping_timeout = Duration::from_millis(number("PING_TIMEOUT_MS", 20_000)?);
    config.engine.max_payload = usize::try_from(number("MAX_PAYLOAD", 1_000_000)?)?;
    config.engine.cors = Some(Cors::default());
    Ok(config)
}

async fn serve_nodes() -> anyhow::Result<()> {
    let (config, port) = (config()?, u16::try_from(number("PORT", 3000)?)?);
    let cluster = Memory::default();
    let (stop, stopped) = watch::channel(false);
    let mut nodes = Vec::new();
    for index in 0..u16::try_from(number("NODES", 1)?)? {
        let listener = TcpListener::bind(("127.0.0.1", port + index)).await?;
        let io = SocketIo::builder()
            .config(config.clone())
            .cluster(cluster.node(NodeId::new(&index.to_string())))
            .build()?;
        set_up(&io, index);
        let mut stopped = stopped.clone();
        nodes.push(tokio::spawn(async move {
            let stopped = async move { stopped.changed().await };
            let options = serve::Options {
                grace: Duration::from_secs(2),
                ..serve::Options::default()
            };
            let closing = io.clone();
            serve::serve(listener, io.service(), options, async move {
                let _stop = stopped.await;
                closing.close(Duration::from_secs(2)).await;
            })
            .await;
        }));
    }
    println!("READY");
    signal(SignalKind::terminate())?.recv().await;
    stop.send(true)?;
    for node in nodes {
        node.await?;
    }
    Ok(())
}

fn set_up(io: &SocketIo, index: u16) {
    let namespace = io.clone();
    let relay = move |arguments: Arguments| {
        let relayed = namespace
            .of("/")
            .map(|main| handlers::relay(&main, index, &arguments));
        std::future::ready(relayed.and_then(|()| Arguments::of(&index).ok()))
    };
    let handler = handlers::on_connect(io.clone(), index);
    io.ns("/", handler.clone()).on_server_side("relay", relay);
    io.ns_with("/ephemeral", Delivery::Ephemeral, handler.clone());
    io.ns("/secret", handler.clone())
        .with(|connecting| async move { first(&connecting) })
        .with(|connecting| async move { second(&connecting) });
    io.dynamic_ns(is_dyn, handler.clone())
        .with(
            |connecting: Arc<Connecting>| async move { set(&connecting, &json!({"parent": true})) },
        );
    io.dynamic_ns(is_tenant, handler);
}

fn is_dyn(name: &str, _: &Connecting) -> bool {
    let digits = name.strip_prefix("/dyn-");
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn is_tenant(name: &str, connecting: &Connecting) -> bool {
    let auth: Auth = connecting.auth().unwrap_or_default();
    let tenant = name
        .strip_prefix("/tenant-")
        .filter(|tenant| !tenant.is_empty());
    tenant.is_some() && tenant == auth.tenant.as_deref()
}

#[derive(Default, Deserialize)]
struct Auth {
    token: Option<String>,
    user: Option<Value>,
    tenant: Option<String>,
}

fn set(connecting: &Connecting, data: &Value) -> Result<(), ConnectError> {
    connecting
        .set_data(data)
        .map_err(|error| ConnectError::new(error.to_string()))
}

fn first(connecting: &Connecting) -> Result<(), ConnectError> {
    set(connecting, &json!({"trail": ["first"]}))?;
    let auth: Auth = connecting.auth().unwrap_or_default();
    if auth.token.as_deref() == Some("open") {
        return Ok(());
    }
    Err(ConnectError::new("not authorized").with_data(json!({"code": 401, "hint": "token"})))
}

fn second(connecting: &Connecting) -> Result<(), ConnectError> {
    let auth: Auth = connecting.auth().unwrap_or_default();
    set(
        connecting,
        &json!({"trail": ["first", "second"], "user": auth.user}),
    )
}
