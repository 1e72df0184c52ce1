//! The fixture that the public Engine.IO 4 test suite expects: an echo with short heartbeats.
//!
//! `cargo run --release -p chatcluster-engineio --example protocol_v4`; `PORT` sets the port (3000),
//! `PING_INTERVAL_MS` and `PING_TIMEOUT_MS` the heartbeat (300, 200: what that suite expects).

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::serve::{self, serve};
use chatcluster_engineio::{
    Accept, CloseReason, Config, Connection, Cors, Engine, Flow, Frame, Message, Session,
};
use tokio::net::TcpListener;

struct Echo;

impl Accept for Echo {
    fn open(&self, _: &Arc<Session>) -> Arc<dyn Connection> {
        Arc::new(Echo)
    }
}

impl Connection for Echo {
    fn message(&self, session: &Arc<Session>, message: Message) -> Flow {
        let frame = match message {
            Message::Text(text) => Frame::text(&text),
            Message::Binary(bytes) => Frame::binary(bytes),
        };
        if let Err(error) = session.send(&[frame]) {
            eprintln!("dropped an echo: {error}");
        }
        Flow::Continue
    }

    fn closed(&self, _: &Arc<Session>, _: CloseReason) {}
}

/// A span from the environment.
fn millis(name: &str, default: u64) -> Result<Duration, String> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(Duration::from_millis(default));
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{name} must be a number of milliseconds, got {text:?}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::var("PORT").map_or(Ok(3000), |port| port.parse())?;
    let config = Config {
        ping_interval: millis("PING_INTERVAL_MS", 300)?,
        ping_timeout: millis("PING_TIMEOUT_MS", 200)?,
        cors: Some(Cors::default()),
        ..Config::default()
    };
    let engine = Engine::new(config, Arc::new(Echo)).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on {}", listener.local_addr()?);
    serve(
        listener,
        engine.service(),
        serve::Options::default(),
        tokio::signal::ctrl_c(),
    )
    .await;
    engine
        .close(CloseReason::ServerShuttingDown, Duration::from_secs(2))
        .await;
    Ok(())
}
