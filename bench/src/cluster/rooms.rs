//! Rooms whose members are spread over the servers of a cluster: what a publish costs, and how long it takes to the other
//! server.

use anyhow::{Context, Result, bail, ensure};

use super::{Cluster, Link};
use crate::client::Client;
use crate::load;
use crate::process::{Cores, Server};
use crate::room::{House, Rooms, Seat};
use crate::sample::{Effort, Share, shares};

/// Publishers come from an address of their own.
pub(super) const PUBLISHER: usize = 100_000;

/// The members of very many rooms are in several each.
const MOST_CLIENTS: usize = 2000;

/// The publishes of a latency sample and of the warm-up before it.
#[derive(Clone, Copy)]
pub(crate) struct Trips {
    pub(crate) warm_up: u64,
    pub(crate) sample: u64,
}

/// One cluster's cost of a publish, and its times across servers.
pub(crate) struct Round {
    pub(crate) servers: Share,
    pub(crate) brokers: Share,
    /// Publishes in the sample.
    pub(crate) publishes: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) delivery: String,
}

impl Round {
    /// CPU of both servers and the broker.
    pub(crate) fn total_us(&self) -> f64 {
        (self.servers.cpu.total() + self.brokers.cpu.total()) * 1e6 / self.publishes
    }

    pub(crate) fn broker_us(&self) -> f64 {
        self.brokers.cpu.total() * 1e6 / self.publishes
    }

    pub(crate) fn rate(&self) -> f64 {
        self.publishes / self.servers.seconds
    }
}

/// The sizes of a round.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) rooms: usize,
    pub(crate) members_each: usize,
    pub(crate) window: usize,
    pub(crate) effort: Effort,
    pub(crate) trips: Trips,
}

/// Measures two servers on a fresh broker.
pub(crate) async fn round(link: Link, sizes: Sizes) -> Result<Round> {
    let cluster = Cluster::start(link, 2, Cores::First).await?;
    let (p50_us, p99_us) = trips(&cluster, sizes.trips)
        .await
        .context("one in flight")?;
    let mut rooms = spread(&cluster.servers, sizes.rooms, sizes.members_each).await?;
    rooms.stay_awake();
    let [servers, brokers] = rooms
        .publishing(sizes.window, async |done| {
            shares([&cluster.servers, &cluster.brokers], sizes.effort, done).await
        })
        .await?;
    let delivery = rooms.delivery();
    ensure!(
        delivery.matches("\",\"").count() == if link.has_offsets() { 2 } else { 1 },
        "the events are not those of {link:?}: {delivery}"
    );
    drop(rooms);
    cluster.stop().await?;
    Ok(Round {
        servers,
        brokers,
        publishes: servers.done as f64 / sizes.members_each as f64,
        p50_us,
        p99_us,
        delivery,
    })
}

/// What the messages of others cost a server that has no member of any room.
pub(crate) struct Foreign {
    pub(crate) us_per_message: f64,
    pub(crate) messages_per_second: f64,
}

/// A third server beside two that have all publishers and members, at each of these windows.
pub(crate) async fn foreign(
    rooms: usize,
    windows: &[usize],
    effort: Effort,
) -> Result<Vec<Foreign>> {
    let mut cluster = Cluster::start(Link::Logged { replicas: 1 }, 3, Cores::First).await?;
    let bystander = cluster.servers.pop().context("there are three servers")?;
    let mut house = few(&cluster.servers, rooms).await?;
    house.stay_awake();
    let mut costs = Vec::new();
    for window in windows {
        let [_, _, foreign] = house
            .publishing(*window, async |done| {
                shares(
                    [&cluster.servers, &cluster.brokers, &bystander],
                    effort,
                    done,
                )
                .await
            })
            .await?;
        costs.push(Foreign {
            us_per_message: foreign.cost().total_us(),
            messages_per_second: foreign.done as f64 / foreign.seconds,
        });
    }
    drop(house);
    bystander.stop().await?;
    cluster.stop().await?;
    Ok(costs)
}

/// Rooms of one member each, who is on the second server; the publisher is on the first one.
pub(crate) async fn few(servers: &[Server], rooms: usize) -> Result<Rooms> {
    let clients = rooms.min(MOST_CLIENTS);
    let [first, second, ..] = servers else {
        bail!("two servers are needed");
    };
    let members = load::connect(second.address, clients).await?;
    let seats = members.into_iter().enumerate().map(|(index, client)| Seat {
        client,
        rooms: (index..rooms).step_by(clients).collect(),
    });
    let house = House {
        rooms,
        members_each: 1,
    };
    let publisher = Client::connect(first.address, load::source(PUBLISHER)).await?;
    Rooms::join(house, seats.collect(), publisher).await
}

/// Rooms whose members are on each of the servers in turn; the publisher is on the first one.
pub(crate) async fn spread(servers: &[Server], rooms: usize, members_each: usize) -> Result<Rooms> {
    let mut seats = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        // Member m of a room is on server m modulo their number.
        let mine = (index..members_each).step_by(servers.len()).count();
        let clients = load::connect(server.address, rooms * mine).await?;
        seats.extend(
            clients
                .into_iter()
                .enumerate()
                .map(|(client, connection)| Seat {
                    client: connection,
                    rooms: vec![client % rooms],
                }),
        );
    }
    let house = House {
        rooms,
        members_each,
    };
    let publisher = Client::connect(servers[0].address, load::source(PUBLISHER)).await?;
    Rooms::join(house, seats, publisher).await
}

/// From a publisher on the first server to a member on the second, one in flight: p50 and p99 in microseconds.
async fn trips(cluster: &Cluster, trips: Trips) -> Result<(f64, f64)> {
    let mut members = load::connect(cluster.servers[1].address, 1).await?;
    let seat = Seat {
        client: members.pop().context("no member")?,
        rooms: vec![0],
    };
    let house = House {
        rooms: 1,
        members_each: 1,
    };
    let publisher = Client::connect(cluster.servers[0].address, load::source(PUBLISHER)).await?;
    let mut room = Rooms::join(house, vec![seat], publisher).await?;
    room.stay_awake();
    for count in [trips.warm_up, trips.sample] {
        room.latencies();
        room.publishing(1, async |done| {
            let end = done.get() + count;
            while done.get() < end {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?;
    }
    let mut latencies = room.latencies();
    ensure!(!latencies.is_empty(), "nothing was measured");
    latencies.sort_unstable();
    let percentile =
        |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]);
    Ok((percentile(0.5), percentile(0.99)))
}
