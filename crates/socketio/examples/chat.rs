//! A chat in thirty lines: what one says, all see, in one order; who was cut off catches up.
//!
//! `cargo run -p chatcluster-socketio --example chat`, then connect a Socket.IO client to http://localhost:3000.

use chatcluster_engineio::serve;
use chatcluster_socketio::{AckSender, Config, Data, Recovery, SocketIo, SocketRef};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let recovery = Some(Recovery::default());
    let io = SocketIo::builder()
        .config(Config {
            recovery,
            ..Config::default()
        })
        .build()?;
    io.ns("/", async |s: SocketRef| {
        println!("{} connected, recovered: {}", s.id(), s.recovered());
        s.on(
            "chat message",
            async |s: SocketRef, Data(text): Data<String>, ack: AckSender| {
                if s.namespace().emit("chat message", &text).is_ok()
                    && let Err(error) = ack.send(&())
                {
                    eprintln!("{error}");
                }
            },
        );
        s.on_disconnect(async |s: SocketRef, reason| {
            println!("{} left: {}", s.id(), reason.as_str())
        });
    });
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://localhost:3000");
    serve::serve(
        listener,
        io.service(),
        serve::Options::default(),
        tokio::signal::ctrl_c(),
    )
    .await;
    Ok(())
}
