//! The section of the report about several servers.

use anyhow::Result;

use super::figures::{FOREIGN_WINDOWS, Figures, Plan};
use super::growth::Point;
use super::rooms::{Foreign, Round};
use super::sessions::Sessions;
use super::storm::Storm;
use super::tables;
use crate::machine;
use crate::report::{Row, aligned, median, table, verdict_of};

/// CPU per foreign message in microseconds: aim and must.
const FOREIGN: (f64, f64) = (1.0, 3.0);

/// One round on one line, as progress.
pub(crate) fn line(round: &Round) -> String {
    format!(
        "{:.1} us per publish ({:.1} of it the broker), {:.0}/s, across servers p50 {:.0} p99 {:.0} us",
        round.total_us(),
        round.broker_us(),
        round.rate(),
        round.p50_us,
        round.p99_us
    )
}

/// What foreign messages cost, on one line.
pub(crate) fn foreign_line(costs: &[Foreign]) -> String {
    let each = costs.iter().map(|foreign| {
        format!(
            "{:.2} us per foreign message at {:.0}/s",
            foreign.us_per_message, foreign.messages_per_second
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

/// When all were back.
pub(super) fn back(storm: &Storm) -> String {
    storm.back_after.map_or_else(
        || "not within the deadline".to_owned(),
        |after| format!("{:.2} s", after.as_secs_f64()),
    )
}

/// A storm on one line.
pub(crate) fn storm_line(storm: &Storm) -> String {
    let cost = storm
        .us_per_recovered()
        .map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    format!(
        "{} of {} recovered, {} lost, {} doubled, all back: {}, {cost} us each",
        storm.recovered,
        storm.victims,
        storm.lost,
        storm.doubled,
        back(storm)
    )
}

/// A load on one line.
pub(crate) fn point_line(point: &Point) -> String {
    format!(
        "{} servers, {} rooms of {}, {} in flight: {:.0}/s, limit: {}",
        point.load.servers,
        point.load.rooms,
        point.load.members_each,
        point.load.window,
        point.publishes_per_second,
        point.limit(machine::cores())
    )
}

/// Very many sessions on one line.
pub(crate) fn sessions_line(sessions: &Sessions) -> String {
    format!(
        "{} sessions on {} servers in {:.1} s: {:.0} bytes and {:.0} writes; {} writes in the {:.0} s after",
        sessions.sessions,
        sessions.servers,
        sessions.connect_seconds,
        sessions.bytes,
        sessions.connect_writes,
        sessions.idle_writes,
        sessions.idle_seconds
    )
}

/// The section.
pub(crate) fn render(figures: &Figures, plan: &Plan, is_quick: bool, busy: &str) -> Result<String> {
    let mut text = String::from("# Several servers and a broker\n\n");
    for line in machine::describe()? {
        text.push_str(&format!("- {line}\n"));
    }
    text.push_str(&format!("- brokers: {}\n\n{busy}\n", super::versions()?));
    if is_quick {
        text.push_str("\n**Short run (QUICK=1): too short for any claim.**\n");
    }
    let rows = rows(figures);
    if !rows.is_empty() {
        text.push_str("\n## Ratios to Node in the same run\n\n");
        text.push_str(&table(&rows));
        text.push_str(
            "\nMedian of the ratios of each round, with the smallest and the largest; smaller is better for us. The must of the \
             first row counts against Node's cheaper adapter, Redis pub/sub, which keeps nothing and recovers nobody; the second \
             one says what the same costs Node with Redis Streams, which recovers.\n",
        );
    }
    text.push_str(&split(figures));
    text.push_str(&foreign(figures));
    text.push_str(&tables::storms(figures));
    text.push_str(&tables::growth(figures));
    text.push_str(&tables::sessions(figures));
    text.push_str(&method(figures, plan));
    Ok(text)
}

fn values<T>(items: &[T], value: impl Fn(&T) -> f64) -> Vec<f64> {
    items.iter().map(value).collect()
}

/// What a row compares.
#[derive(Clone, Copy)]
enum Figure {
    Cost,
    P50,
    P99,
}

impl Figure {
    fn of(self, round: &Round) -> f64 {
        match self {
            Self::Cost => round.total_us(),
            Self::P50 => round.p50_us,
            Self::P99 => round.p99_us,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cost => "rooms of 10 on two servers, CPU of both and the broker per publish",
            Self::P50 => "across servers, one in flight, p50",
            Self::P99 => "across servers, one in flight, p99",
        }
    }
}

fn rows(figures: &Figures) -> Vec<Row> {
    let logged = ("Logged", &figures.logged);
    let ephemeral = ("Ephemeral", &figures.ephemeral);
    let redis = ("Redis pub/sub", &figures.redis);
    let streams = ("Redis Streams", &figures.streams);
    let (cost, trip, none) = ((Some(0.4), Some(0.5)), (Some(1.0), Some(1.3)), (None, None));
    let wanted = [
        (Figure::Cost, logged, redis, cost),
        (Figure::Cost, logged, streams, none),
        (Figure::Cost, ephemeral, redis, none),
        (Figure::P99, logged, streams, trip),
        (Figure::P99, ephemeral, redis, trip),
        (Figure::P99, logged, redis, none),
        (Figure::P50, logged, streams, none),
        (Figure::P50, ephemeral, redis, none),
    ];
    let mut rows: Vec<Row> = wanted
        .into_iter()
        .map(|(figure, ours, node, (aim, must))| Row {
            name: format!("{}: {} to {}", figure.name(), ours.0, node.0),
            unit: "us",
            node: values(node.1, |round| figure.of(round)),
            ours: values(ours.1, |round| figure.of(round)),
            aim,
            must,
        })
        .collect();
    // A round counts if both sides came through it.
    let storms = figures.storms.iter().zip(&figures.streams_storms);
    let (ours, node) = storms
        .filter_map(|(ours, node)| Some((ours.us_per_recovered()?, node.us_per_recovered()?)))
        .unzip();
    rows.push(Row {
        name: "storm, CPU of both servers and the broker per recovered client: Logged to Redis Streams".into(),
        unit: "us",
        node,
        ours,
        aim: Some(0.25),
        must: Some(0.6),
    });
    rows.retain(|row| !row.ours.is_empty() && !row.node.is_empty());
    rows
}

/// Servers and brokers apart.
fn split(figures: &Figures) -> String {
    let heading = [
        "side",
        "servers user",
        "servers system",
        "broker user",
        "broker system",
        "sum",
        "publishes/s",
        "p50",
        "p99",
    ];
    let mut cells = vec![heading.map(String::from)];
    for (name, rounds) in [
        ("ours, Logged, one replica", &figures.logged),
        ("ours, Logged, three replicas", &figures.three),
        ("ours, Ephemeral", &figures.ephemeral),
        ("Node, Redis pub/sub", &figures.redis),
        ("Node, Redis Streams", &figures.streams),
    ] {
        if rounds.is_empty() {
            continue;
        }
        let middle = |value: &dyn Fn(&Round) -> f64, digits: usize| {
            format!("{:.digits$}", median(&values(rounds, value)))
        };
        let us =
            |value: fn(&Round) -> f64| middle(&|round| value(round) * 1e6 / round.publishes, 1);
        cells.push([
            name.to_owned(),
            us(|round| round.servers.cpu.user),
            us(|round| round.servers.cpu.system),
            us(|round| round.brokers.cpu.user),
            us(|round| round.brokers.cpu.system),
            middle(&Round::total_us, 1),
            middle(&Round::rate, 0),
            middle(&|round| round.p50_us, 0),
            middle(&|round| round.p99_us, 0),
        ]);
    }
    if cells.len() == 1 {
        return String::new();
    }
    format!(
        "\n## A publish to a room of 10, in microseconds\n\n{}\nMedians. CPU and rate with the window in flight, all on one core; \
         p50 and p99 from one server to the other with one in flight.\n",
        aligned(&cells)
    )
}

fn foreign(figures: &Figures) -> String {
    if figures.foreign.is_empty() {
        return String::new();
    }
    let heading = [
        "in flight",
        "messages/s",
        "us per message",
        "min-max",
        "aim",
        "must",
        "verdict",
    ];
    let mut cells = vec![heading.map(String::from)];
    for (index, window) in FOREIGN_WINDOWS.into_iter().enumerate() {
        let costs = values(&figures.foreign, |round| round[index].us_per_message);
        let rates = values(&figures.foreign, |round| round[index].messages_per_second);
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = costs.iter().copied().fold(0.0, f64::max);
        cells.push([
            window.to_string(),
            format!("{:.0}", median(&rates)),
            format!("{:.2}", median(&costs)),
            format!("{least:.2}-{most:.2}"),
            FOREIGN.0.to_string(),
            FOREIGN.1.to_string(),
            verdict_of(median(&costs), Some(FOREIGN.0), Some(FOREIGN.1)).to_owned(),
        ]);
    }
    format!(
        "\n## A server without members\n\nA third server that has no member of any room reads the log, too. What each message costs it \
         depends on how many come at once:\n\n{}",
        aligned(&cells)
    )
}

fn method(figures: &Figures, plan: &Plan) -> String {
    let delivery = |rounds: &[Round]| {
        rounds
            .last()
            .map_or_else(String::new, |round| round.delivery.clone())
    };
    format!(
        "\n## Method of this section\n\n\
         - {} rounds (three replicas: at most 3), the sides in alternation, each on fresh servers and a fresh, empty broker. Both servers and the \
         broker on core 0, the load client on core 1; in the growth table and with very many sessions all cores are free for all. One thread \
         of each of our servers against one Node process each.\n\
         - CPU is user + system from `/proc`, of both servers and of the broker: over at least {} CPU-s a sample after {} CPU-s of warm-up. \
         Work that the kernel does for them on the client's core, or writing files behind them, is in no figure.\n\
         - Ours: events go through a JetStream stream in a file, session records through a bucket in a file; what is acknowledged \
         survives the servers and the broker's process. Redis: without persistence, its fastest form; adapters with their defaults.\n\
         - Rooms: {} rooms of {}, half of the members on each server; one publisher, on the first server and no member, {} publishes in flight \
         that go to each room in turn; one is done when all members have it. Deliveries are checked by the receivers: none lost, doubled \
         or out of order.\n\
         - Across servers: a publisher on one, one member on the other, {} publishes one after another after {} of warm-up.\n\
         - Storm: {} clients on each server in one room, {} messages/s; the connections of one server end at the same time, their clients \
         return to the other one within 200 ms, with `pid` and `offset`. Extra CPU is what servers and broker used in {} s or until all were \
         back, less what the traffic alone used in {} s before. Lost and doubled are counted by the clients.\n\
         - Recovery is on everywhere ({}), 64 bytes of data per event, WebSocket only, perMessageDeflate off, TCP_NODELAY on.\n\
         - One delivery of each, as it came: ours `{}`, Node with Redis pub/sub `{}`, with Redis Streams `{}`.\n",
        plan.rounds,
        plan.rooms.effort.sample,
        plan.rooms.effort.warm_up,
        plan.rooms.rooms,
        plan.rooms.members_each,
        plan.rooms.window,
        plan.rooms.trips.sample,
        plan.rooms.trips.warm_up,
        plan.storm.clients,
        plan.storm.messages_per_second,
        plan.storm.measure.as_secs(),
        plan.storm.measure.as_secs(),
        "Redis pub/sub cannot recover",
        delivery(&figures.logged),
        delivery(&figures.redis),
        delivery(&figures.streams),
    )
}
