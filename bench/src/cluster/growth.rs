//! Growth: more servers, more rooms, a higher rate, until something gives; and what it was. All cores are free for all.

use std::cell::Cell;

use anyhow::Result;

use super::{Cluster, Link, rooms};
use crate::machine::Busy;
use crate::process::{Cores, Cpu, Uses};
use crate::sample::{Effort, Share, shares};

/// A part that used so much of a core had no more to give.
const FULL: f64 = 0.9;

/// A load and how it is spread.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) servers: usize,
    pub(crate) rooms: usize,
    pub(crate) members_each: usize,
    pub(crate) window: usize,
}

/// What came of a load.
pub(crate) struct Point {
    pub(crate) load: Load,
    pub(crate) publishes_per_second: f64,
    pub(crate) servers_us: f64,
    pub(crate) brokers_us: f64,
    /// Cores that each part used.
    pub(crate) servers: f64,
    pub(crate) busiest_server: f64,
    pub(crate) brokers: f64,
    pub(crate) client: f64,
    /// The share of all cores that anybody used.
    machine: f64,
}

impl Point {
    /// What kept the rate from being higher.
    pub(crate) fn limit(&self, cores: usize) -> String {
        if self.client >= FULL {
            return "the load client's core".into();
        }
        if self.busiest_server >= FULL {
            return "the publisher's server, whose thread is full".into();
        }
        if self.machine >= FULL {
            let others = self.machine * cores as f64 - self.servers - self.brokers - self.client;
            let parts = [
                (self.servers, "servers"),
                (self.brokers, "the broker"),
                (self.client, "the load client"),
                (others, "what is not ours"),
            ];
            let largest = parts.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
            let name = largest.map_or("", |(_, name)| name);
            return format!("all cores are full, most with {name}");
        }
        format!("the way of a message: {} in flight", self.load.window)
    }
}

/// This process: the load client.
struct Own;

impl Uses for Own {
    fn cpu(&self) -> Result<Cpu> {
        Cpu::of("self")
    }
}

/// Runs a load on a fresh cluster.
pub(crate) async fn point(load: Load, effort: Effort) -> Result<Point> {
    let cluster = Cluster::start(Link::Logged { replicas: 1 }, load.servers, Cores::All).await?;
    let mut rooms = if load.members_each == 1 {
        rooms::few(&cluster.servers, load.rooms).await?
    } else {
        rooms::spread(&cluster.servers, load.rooms, load.members_each).await?
    };
    let busy = Cell::new(1.0);
    let (first, others) = (&cluster.servers[0], &cluster.servers[1..]);
    let [first, others, brokers, client] = rooms
        .publishing(load.window, async |done| {
            let machine = Busy::start()?;
            let shares = shares([first, &others, &cluster.brokers, &Own], effort, done).await?;
            busy.set(machine.share()?);
            Ok(shares)
        })
        .await?;
    drop(rooms);
    cluster.stop().await?;
    let publishes = first.done as f64 / load.members_each as f64;
    let cores = |share: &Share| share.cpu.total() / share.seconds;
    let both = first.cpu.and(others.cpu).total();
    Ok(Point {
        load,
        publishes_per_second: publishes / first.seconds,
        servers_us: both * 1e6 / publishes,
        brokers_us: brokers.cpu.total() * 1e6 / publishes,
        servers: cores(&first) + cores(&others),
        busiest_server: cores(&first),
        brokers: cores(&brokers),
        client: cores(&client),
        machine: busy.get(),
    })
}
