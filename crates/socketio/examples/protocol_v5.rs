//! The fixture of the public Socket.IO 5 protocol suite: what it must do is fixed by that suite.
//!
//! `cargo run --release -p chatcluster-socketio --example protocol_v5`; the port is `PORT`, default 3000.
//! `PING_INTERVAL_MS`, `PING_TIMEOUT_MS` and `CONNECT_TIMEOUT_MS` are 300, 200 and 1000 by default, as that suite expects.

use std::time::Duration;

use anyhow::Context;
use chatcluster_engineio::{Cors, serve};
use chatcluster_socketio::{AckSender, Arguments, Config, Event, SocketIo, SocketRef};
use serde_json::Value;
use tokio::net::TcpListener;

/// A span from the environment.
fn millis(name: &str, default: u64) -> anyhow::Result<Duration> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(Duration::from_millis(default));
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .map(Duration::from_millis)
        .with_context(|| format!("{name} must be a number of milliseconds, got {text:?}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut config = Config {
        connect_timeout: millis("CONNECT_TIMEOUT_MS", 1000)?,
        ..Config::default()
    };
    config.engine.ping_interval = millis("PING_INTERVAL_MS", 300)?;
    config.engine.ping_timeout = millis("PING_TIMEOUT_MS", 200)?;
    config.engine.max_payload = 1_000_000;
    config.engine.cors = Some(Cors::default());
    let io = SocketIo::builder().config(config).build()?;
    io.ns("/", on_connect);
    io.ns("/custom", on_connect);
    let port: u16 = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("READY");
    serve::serve(
        listener,
        io.service(),
        serve::Options::default(),
        tokio::signal::ctrl_c(),
    )
    .await;
    Ok(())
}

async fn on_connect(s: SocketRef) {
    let auth: Value = s.auth().unwrap_or_default();
    if let Err(error) = s.emit("auth", &auth) {
        eprintln!("emit auth: {error}");
    }
    s.on("message", async |s: SocketRef, data: Arguments| {
        let sent =
            Event::from_arguments("message-back", &data).and_then(|event| s.emit_event(event));
        if let Err(error) = sent {
            eprintln!("emit message-back: {error}");
        }
    });
    s.on(
        "message-with-ack",
        async |data: Arguments, ack: AckSender| ack.send_arguments(&data),
    );
}
