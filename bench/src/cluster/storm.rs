//! A storm: the clients of one server lose it while messages flow, and come back to the other one with what they know.
//!
//! What a client missed is computed from the messages that it was sent, never from a server's word.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Cluster, Link};
use crate::client::Client;
use crate::load::{self, CONNECTS_IN_FLIGHT};
use crate::process::{Cores, Uses as _};
use crate::room;
use crate::wire;

/// Clients return after up to so long.
const JITTER: Duration = Duration::from_millis(200);
/// All must be back by then.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// The sizes of a storm.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// On each of the two servers.
    pub(crate) clients: usize,
    pub(crate) messages_per_second: u32,
    /// How long the traffic flows before anything is measured.
    pub(crate) settle: Duration,
    /// How long the CPU of the traffic alone is measured, and at least of the storm.
    pub(crate) measure: Duration,
}

/// What ends the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The network: both servers live.
    Cut,
    /// SIGKILL of the server.
    Kill,
}

/// What became of the clients that lost their server.
pub(crate) struct Storm {
    pub(crate) victims: usize,
    pub(crate) recovered: usize,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// `None` if not all were back in time.
    pub(crate) back_after: Option<Duration>,
    /// CPU of servers and broker beyond that of the traffic; `None` if a server was killed, or not all came back.
    pub(crate) extra_seconds: Option<f64>,
}

impl Storm {
    pub(crate) fn us_per_recovered(&self) -> Option<f64> {
        Some(self.extra_seconds? * 1e6 / self.recovered as f64)
    }
}

/// What all clients of a storm share.
struct Field {
    home: SocketAddr,
    refuge: SocketAddr,
    /// Clients that are connecting for the first time.
    turns: Semaphore,
    /// Clients that are in the room.
    here: Cell<usize>,
    /// Victims that have a connection again and everything sent so far.
    back: Cell<usize>,
    recovered: Cell<usize>,
    lost: Cell<u64>,
    doubled: Cell<u64>,
    /// The number of the newest message.
    published: Cell<u64>,
}

/// How far one client has come.
#[derive(Default)]
struct Progress {
    pid: String,
    offset: String,
    /// The next message that it is due.
    next: Option<u64>,
}

impl Progress {
    fn receive(&mut self, packet: &[u8], field: &Field) -> Result<()> {
        let (number, rest) = room::delivered(packet)?;
        // What follows the data is the offset: `","OFFSET"]`.
        if let Some(offset) = rest
            .strip_prefix(br#"",""#)
            .and_then(|rest| rest.strip_suffix(br#""]"#))
        {
            self.offset = String::from_utf8_lossy(offset).into_owned();
        }
        let due = self.next.unwrap_or(number);
        if number < due {
            field.doubled.set(field.doubled.get() + 1);
            return Ok(());
        }
        field.lost.set(field.lost.get() + number - due);
        self.next = Some(number + 1);
        Ok(())
    }

    /// Reads `"pid":"..."` from the answer to CONNECT.
    fn enter(&mut self, answer: &str) -> bool {
        let pid = answer
            .split_once(r#""pid":""#)
            .and_then(|(_, rest)| rest.split('"').next());
        let pid = pid.unwrap_or_default();
        let is_same = !pid.is_empty() && pid == self.pid;
        pid.clone_into(&mut self.pid);
        is_same
    }
}

/// One storm on a fresh cluster.
pub(crate) async fn storm(link: Link, cause: Cause, sizes: Sizes) -> Result<Storm> {
    let mut cluster = Cluster::start(link, 2, Cores::First).await?;
    let field = Rc::new(Field {
        home: cluster.servers[0].address,
        refuge: cluster.servers[1].address,
        turns: Semaphore::new(CONNECTS_IN_FLIGHT),
        here: Cell::default(),
        back: Cell::default(),
        recovered: Cell::default(),
        lost: Cell::default(),
        doubled: Cell::default(),
        published: Cell::default(),
    });
    let (cut, is_cut) = watch::channel(false);
    let mut tasks = gather(&field, sizes.clients, &is_cut).await?;
    tasks.spawn_local(publish(Rc::clone(&field), sizes.messages_per_second));
    // The core stays awake, see `Load::stay_awake`.
    tasks.spawn_local(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let (back_after, extra_seconds) = tokio::select! {
        measured = measure(&mut cluster, &field, cause, sizes, &cut) => measured?,
        ended = tasks.join_next() => {
            ended.context("nobody takes part")???;
            anyhow::bail!("a client of the storm ended");
        }
    };
    drop(tasks);
    cluster.stop().await?;
    Ok(Storm {
        victims: sizes.clients,
        recovered: field.recovered.get(),
        lost: field.lost.get(),
        doubled: field.doubled.get(),
        back_after,
        extra_seconds,
    })
}

/// The storm itself: when all were back, and what it cost beyond the traffic.
async fn measure(
    cluster: &mut Cluster,
    field: &Field,
    cause: Cause,
    sizes: Sizes,
    cut: &watch::Sender<bool>,
) -> Result<(Option<Duration>, Option<f64>)> {
    sleep(sizes.settle).await;
    let (before, began) = (cluster.cpu()?, Instant::now());
    sleep(sizes.measure).await;
    let steady = cluster.cpu()?.since(before).total() / began.elapsed().as_secs_f64();

    let (before, began) = (cluster.cpu()?, Instant::now());
    if cause == Cause::Kill {
        cluster.servers.remove(0).kill().await?;
    } else {
        cut.send_replace(true);
    }
    let all_back = async {
        while field.back.get() < sizes.clients {
            sleep(LOOK).await;
        }
    };
    // Not an error: on a machine that others use, a server may never catch up with the traffic. The report says so.
    let is_over = timeout(DEADLINE, all_back).await.is_ok();
    let back_after = began.elapsed();
    sleep(sizes.measure.saturating_sub(back_after)).await;
    let extra = (cause == Cause::Cut && is_over)
        .then(|| -> Result<f64> {
            let used = cluster.cpu()?.since(before).total();
            Ok(used - steady * began.elapsed().as_secs_f64())
        })
        .transpose()?;
    Ok((is_over.then_some(back_after), extra))
}

/// Starts all clients; returns when they are in the room.
async fn gather(
    field: &Rc<Field>,
    clients: usize,
    is_cut: &watch::Receiver<bool>,
) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    for index in 0..clients {
        tasks.spawn_local(victim(index, Rc::clone(field), is_cut.clone()));
        tasks.spawn_local(bystander(index, Rc::clone(field)));
    }
    while field.here.get() < 2 * clients {
        tokio::select! {
            () = sleep(LOOK) => {}
            ended = tasks.join_next() => {
                ended.context("nobody takes part")???;
            }
        }
    }
    Ok(tasks)
}

/// Connects for the first time, and joins the room: some at a time.
async fn arrive(server: SocketAddr, index: usize, field: &Field) -> Result<(Client, Progress)> {
    let _turn = field.turns.acquire().await?;
    let mut progress = Progress::default();
    let (mut client, _) = enter(server, index, field, &mut progress).await?;
    join(&mut client, &mut progress, field).await?;
    field.here.set(field.here.get() + 1);
    Ok((client, progress))
}

async fn bystander(index: usize, field: Rc<Field>) -> Result<()> {
    let (client, mut progress) = arrive(field.refuge, index, &field).await?;
    receive(client, &mut progress, &field).await
}

/// Connects, with the session that it had if it had one; true if it was recovered.
async fn enter(
    server: SocketAddr,
    index: usize,
    field: &Field,
    progress: &mut Progress,
) -> Result<(Client, bool)> {
    let connect = match (progress.pid.as_str(), progress.offset.as_str()) {
        ("", _) => "40".to_owned(),
        (pid, "") => format!(r#"40{{"pid":"{pid}"}}"#),
        (pid, offset) => format!(r#"40{{"pid":"{pid}","offset":"{offset}"}}"#),
    };
    let mut replayed = Vec::new();
    let (client, answer) = Client::enter(server, load::source(index), &connect, |packet| {
        replayed.push(packet.to_vec());
        Ok(())
    })
    .await?;
    let is_recovered = progress.enter(&answer);
    ensure!(
        is_recovered || replayed.is_empty(),
        "messages for a session that is new"
    );
    for packet in replayed {
        progress.receive(&packet, field)?;
    }
    Ok((client, is_recovered))
}

async fn join(client: &mut Client, progress: &mut Progress, field: &Field) -> Result<()> {
    client.send(&wire::text(r#"420["join","room"]"#)).await?;
    let mut joined = false;
    while !joined {
        client
            .receive(|packet| {
                if packet == br#"430["ok"]"# {
                    joined = true;
                    return Ok(());
                }
                progress.receive(packet, field)
            })
            .await?;
    }
    Ok(())
}

async fn receive(mut client: Client, progress: &mut Progress, field: &Field) -> Result<()> {
    loop {
        client
            .receive(|packet| progress.receive(packet, field))
            .await?;
    }
}

/// Loses its connection once, and returns to the other server.
async fn victim(index: usize, field: Rc<Field>, mut is_cut: watch::Receiver<bool>) -> Result<()> {
    let (client, mut progress) = arrive(field.home, index, &field).await?;
    tokio::select! {
        // Ours or the server's end of the connection: both are the storm.
        _ended = receive(client, &mut progress, &field) => {}
        cut = is_cut.wait_for(|cut| *cut) => { cut?; }
    }
    // Spread evenly, in the same way in every run.
    sleep(JITTER.mul_f64((index % 97) as f64 / 97.0)).await;
    let (mut client, is_recovered) = enter(field.refuge, index, &field, &mut progress).await?;
    if is_recovered {
        field.recovered.set(field.recovered.get() + 1);
    } else {
        join(&mut client, &mut progress, &field).await?;
    }
    let newest = field.published.get();
    while progress.next.is_none_or(|next| next < newest) {
        client
            .receive(|packet| progress.receive(packet, &field))
            .await?;
    }
    field.back.set(field.back.get() + 1);
    receive(client, &mut progress, &field).await
}

/// Publishes to the room at a steady rate, from the server that stays.
async fn publish(field: Rc<Field>, per_second: u32) -> Result<()> {
    let client = Client::connect(field.refuge, load::source(super::rooms::PUBLISHER)).await?;
    let sender = client.sender();
    let mut idle = load::idle(vec![client]);
    let mut beat = interval(Duration::from_secs(1) / per_second);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    idle.during(async {
        for number in 0.. {
            beat.tick().await;
            let data = room::data(number);
            let publish = format!(r#"42["pub","room","{data}"]"#);
            sender.send(&wire::text(&publish)).await?;
            field.published.set(number);
        }
        Ok(())
    })
    .await
}
