//! The section of the report about several servers.

use anyhow::Result;

use super::figures::{FOREIGN_WINDOWS, Figures, Plan};
use super::growth::Point;
use super::rooms::{Foreign, Round};
use super::sessions::Sessions;
use super::storm::Storm;
use crate::machine;
use crate::report::{Row, aligned, median, table, verdict_of};

const MIB: f64 = 1024.0 * 1024.0;
/// CPU per foreign message in microseconds: aim and must.
const FOREIGN: (f64, f64) = (1.0, 3.0);
/// What servers, broker and load client may hold together with very many sessions.
const MEMORY_GIB: f64 = 10.0;

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
fn back(storm: &Storm) -> String {
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
    text.push_str(&storms(figures));
    text.push_str(&growth(figures));
    text.push_str(&sessions(figures));
    text.push_str(&method(figures, plan));
    Ok(text)
}

fn values<T>(items: &[T], value: impl Fn(&T) -> f64) -> Vec<f64> {
    items.iter().map(value).collect()
}

fn rows(figures: &Figures) -> Vec<Row> {
    let row = |name: &str,
               sides: (&[Round], &[Round]),
               goal: (Option<f64>, Option<f64>),
               value: fn(&Round) -> f64| Row {
        name: name.into(),
        unit: "us",
        node: values(sides.0, value),
        ours: values(sides.1, value),
        aim: goal.0,
        must: goal.1,
    };
    let (redis, streams, logged, ephemeral) = (
        &figures.redis[..],
        &figures.streams[..],
        &figures.logged[..],
        &figures.ephemeral[..],
    );
    let (cost, p50, p99) = ((Some(0.4), Some(0.5)), (None, None), (Some(1.0), Some(1.3)));
    let rooms = "rooms of 10 on two servers, CPU of both and the broker per publish";
    let trip = "across servers, one in flight";
    let mut rows = vec![
        row(
            &format!("{rooms}: Logged to Redis pub/sub"),
            (redis, logged),
            cost,
            Round::total_us,
        ),
        row(
            &format!("{rooms}: Logged to Redis Streams"),
            (streams, logged),
            (None, None),
            Round::total_us,
        ),
        row(
            &format!("{rooms}: Ephemeral to Redis pub/sub"),
            (redis, ephemeral),
            (None, None),
            Round::total_us,
        ),
        row(
            &format!("{trip}, p50: Logged to Redis Streams"),
            (streams, logged),
            p50,
            |round| round.p50_us,
        ),
        row(
            &format!("{trip}, p99: Logged to Redis Streams"),
            (streams, logged),
            p99,
            |round| round.p99_us,
        ),
        row(
            &format!("{trip}, p50: Ephemeral to Redis pub/sub"),
            (redis, ephemeral),
            p50,
            |round| round.p50_us,
        ),
        row(
            &format!("{trip}, p99: Ephemeral to Redis pub/sub"),
            (redis, ephemeral),
            p99,
            |round| round.p99_us,
        ),
        row(
            &format!("{trip}, p99: Logged to Redis pub/sub"),
            (redis, logged),
            (None, None),
            |round| round.p99_us,
        ),
    ];
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

fn storms(figures: &Figures) -> String {
    let heading = [
        "what happened",
        "side",
        "recovered",
        "lost",
        "doubled",
        "all back after",
        "CPU per recovered",
    ];
    let mut cells = vec![heading.map(String::from)];
    let cut = "all connections of one server cut";
    for (what, side, storms) in [
        (cut, "ours", figures.storms.iter().collect::<Vec<_>>()),
        (
            cut,
            "ours, three replicas",
            figures.three_storms.iter().collect(),
        ),
        (
            cut,
            "Node, Redis Streams",
            figures.streams_storms.iter().collect(),
        ),
    ]
    .into_iter()
    .chain(
        figures
            .kills
            .iter()
            .map(|(side, storm)| ("SIGKILL of one server", *side, vec![storm])),
    ) {
        if storms.is_empty() {
            continue;
        }
        let sum = |value: fn(&Storm) -> u64| storms.iter().map(|storm| value(storm)).sum::<u64>();
        let costs: Option<Vec<f64>> = storms
            .iter()
            .map(|storm| storm.us_per_recovered())
            .collect();
        cells.push([
            what.to_owned(),
            side.to_owned(),
            format!(
                "{} of {}",
                sum(|storm| storm.recovered as u64),
                sum(|storm| storm.victims as u64)
            ),
            sum(|storm| storm.lost).to_string(),
            sum(|storm| storm.doubled).to_string(),
            storms
                .iter()
                .map(|storm| back(storm))
                .collect::<Vec<_>>()
                .join(", "),
            costs.map_or_else(
                || "-".to_owned(),
                |costs| format!("{:.0} us", median(&costs)),
            ),
        ]);
    }
    if cells.len() == 1 {
        return String::new();
    }
    format!("\n## Storms\n\n{}", aligned(&cells))
}

fn growth(figures: &Figures) -> String {
    if figures.growth.is_empty() {
        return String::new();
    }
    let heading = [
        "servers",
        "rooms",
        "members",
        "in flight",
        "publishes/s",
        "servers us",
        "broker us",
        "cores: servers",
        "broker",
        "load client",
        "what limits",
    ];
    let mut cells = vec![heading.map(String::from)];
    for point in &figures.growth {
        cells.push([
            point.load.servers.to_string(),
            point.load.rooms.to_string(),
            point.load.members_each.to_string(),
            point.load.window.to_string(),
            format!("{:.0}", point.publishes_per_second),
            format!("{:.1}", point.servers_us),
            format!("{:.1}", point.brokers_us),
            format!("{:.2}", point.servers),
            format!("{:.2}", point.brokers),
            format!("{:.2}", point.client),
            point.limit(machine::cores()),
        ]);
    }
    format!(
        "\n## Growth (ours, one replica)\n\n{}\nServers and broker may use all {} cores of this machine, the load client one of them. \
         One publisher on the first server; the CPU of servers and broker is per publish, with all deliveries.\n",
        aligned(&cells),
        machine::cores()
    )
}

fn sessions(figures: &Figures) -> String {
    let Some(sessions) = &figures.sessions else {
        return String::new();
    };
    let memory = sessions.server_bytes + sessions.broker_bytes + sessions.client_bytes;
    let is_within = memory <= MEMORY_GIB * 1024.0 * MIB;
    format!(
        "\n## {} sessions in the broker's bucket\n\nReal connections, recovery on, to {} servers: all connected after {:.1} s, **{:.0} session \
         writes per second** meanwhile ({:.2} per session). Then the bucket has {:.0} records in **{:.1} MiB, {:.0} bytes a session**. \
         In the {:.0} s after it came to rest: **{} writes** (must 0: {}).\n\nMemory (RSS): servers {:.0} MiB ({:.1} KiB a connection), \
         broker {:.0} MiB, load client {:.0} MiB; {} {MEMORY_GIB} GiB together.\n",
        sessions.sessions,
        sessions.servers,
        sessions.connect_seconds,
        sessions.connect_writes / sessions.connect_seconds,
        sessions.connect_writes / sessions.sessions as f64,
        sessions.records,
        sessions.bytes / MIB,
        sessions.bytes / sessions.records,
        sessions.idle_seconds,
        sessions.idle_writes,
        if sessions.idle_writes == 0.0 {
            "held"
        } else {
            "NOT HELD"
        },
        sessions.server_bytes / MIB,
        sessions.server_bytes / 1024.0 / sessions.sessions as f64,
        sessions.broker_bytes / MIB,
        sessions.client_bytes / MIB,
        if is_within { "below" } else { "ABOVE" },
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
