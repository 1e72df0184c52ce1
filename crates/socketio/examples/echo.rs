//! An echo server: every `message` comes back, and `echo` is acknowledged with its argument.
//!
//! `cargo run -p chatcluster-socketio --example echo`, then connect a Socket.IO client to http://localhost:3000.

use chatcluster_engineio::serve;
use chatcluster_socketio::{AckSender, Arguments, Event, SocketIo, SocketRef};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let io = SocketIo::builder().build()?;
    io.ns("/", async |s: SocketRef| {
        s.on("message", async |s: SocketRef, data: Arguments| {
            if let Ok(event) = Event::from_arguments("message", &data)
                && let Err(error) = s.emit_event(event)
            {
                eprintln!("{error}");
            }
        });
        s.on("echo", async |data: Arguments, ack: AckSender| {
            ack.send_arguments(&data)
        });
    });
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://localhost:3000");
    let stop = tokio::signal::ctrl_c();
    serve::serve(listener, io.service(), serve::Options::default(), stop).await;
    Ok(())
}
