//! Loads of connections that do not need each other: idle ones, echoes, stored messages. Each counts what arrived at the
//! receiver and checks its content. A busy room is in `room`.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::wire;

/// What every event carries.
pub(crate) const DATA_BYTES: usize = 64;
/// Connections that are being opened at the same time.
pub(crate) const CONNECTS_IN_FLIGHT: usize = 64;
/// Connections from one loopback address: far fewer than it has ports.
const CONNECTIONS_PER_ADDRESS: usize = 1000;

/// The loopback address that the `index`th connection comes from.
pub(crate) fn source(index: usize) -> Ipv4Addr {
    let address = index / CONNECTIONS_PER_ADDRESS;
    Ipv4Addr::new(127, 0, 1 + (address / 200) as u8, 2 + (address % 200) as u8)
}

/// Opens `count` connections, some at a time.
pub(crate) async fn connect(server: SocketAddr, count: usize) -> Result<Vec<Client>> {
    let mut opening = JoinSet::new();
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        if opening.len() == CONNECTS_IN_FLIGHT {
            clients.push(
                opening
                    .join_next()
                    .await
                    .context("nothing is being opened")???,
            );
        }
        opening.spawn_local(Client::connect(server, source(index)));
    }
    while let Some(client) = opening.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

/// A running load. Dropping it closes its connections.
pub(crate) struct Load {
    pub(crate) tasks: JoinSet<Result<()>>,
    /// What has arrived so far.
    pub(crate) done: Rc<Cell<u64>>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            done: Rc::default(),
        }
    }

    /// Keeps this thread awake. A core that fell asleep between two deliveries would be woken by the server's send, and on a
    /// virtual machine that costs the server more than the send itself.
    pub(crate) fn stay_awake(&mut self) {
        self.tasks.spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Runs `measure` beside the load; the end of a connection is the error of the measurement.
    pub(crate) async fn during<T>(
        &mut self,
        measure: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            value = measure => value,
            ended = self.tasks.join_next() => match ended {
                Some(result) => { result??; anyhow::bail!("a connection of the load ended") }
                None => anyhow::bail!("the load has no connection"),
            },
        }
    }
}

/// Connections that only answer pings.
pub(crate) fn idle(clients: Vec<Client>) -> Load {
    let mut load = Load::new();
    for mut client in clients {
        load.tasks.spawn_local(async move {
            loop {
                client.receive(|_| Ok(())).await?;
            }
        });
    }
    load
}

/// Round-trip times in microseconds.
pub(crate) type Latencies = Rc<RefCell<Vec<u32>>>;

/// Each connection keeps one echo in flight.
pub(crate) fn echo(clients: Vec<Client>) -> (Load, Latencies) {
    let mut load = Load::new();
    load.stay_awake();
    let latencies = Latencies::default();
    for client in clients {
        load.tasks
            .spawn_local(echoes(client, Rc::clone(&load.done), Rc::clone(&latencies)));
    }
    (load, latencies)
}

async fn echoes(mut client: Client, done: Rc<Cell<u64>>, latencies: Latencies) -> Result<()> {
    let data = "x".repeat(DATA_BYTES);
    for id in 0_u64.. {
        let sent = Instant::now();
        client
            .send(&wire::text(&format!("42{id}[\"echo\",\"{data}\"]")))
            .await?;
        let answer = format!("43{id}[\"{data}\"]");
        let mut answered = false;
        while !answered {
            client
                .receive(|packet| {
                    ensure!(
                        packet == answer.as_bytes(),
                        "{} instead of {answer}",
                        String::from_utf8_lossy(packet)
                    );
                    answered = true;
                    Ok(())
                })
                .await?;
        }
        done.set(done.get() + 1);
        latencies
            .borrow_mut()
            .push(u32::try_from(sent.elapsed().as_micros())?);
    }
    Ok(())
}

/// Each connection keeps one chat message in flight; counted is what was acknowledged as stored.
pub(crate) fn messages(clients: Vec<Client>) -> Load {
    let mut load = Load::new();
    for (sender, client) in clients.into_iter().enumerate() {
        load.tasks
            .spawn_local(stored(client, sender, Rc::clone(&load.done)));
    }
    load
}

async fn stored(mut client: Client, sender: usize, done: Rc<Cell<u64>>) -> Result<()> {
    let content = "x".repeat(DATA_BYTES);
    for id in 0_u64.. {
        client
            .send(&wire::text(&format!(
                r#"42{id}["chat message","{content}","{sender}-{id}"]"#
            )))
            .await?;
        let answer = format!("43{id}[");
        let mut answered = false;
        while !answered {
            client
                .receive(|packet| {
                    if packet.starts_with(answer.as_bytes()) {
                        let text = String::from_utf8_lossy(packet);
                        ensure!(
                            text.contains("serverOffset") && text.contains("\"duplicate\":false"),
                            "not stored: {text}"
                        );
                        answered = true;
                    }
                    Ok(())
                })
                .await?;
        }
        done.set(done.get() + 1);
    }
    Ok(())
}
