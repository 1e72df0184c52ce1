//! Tables of the report that stand for themselves: storms, growth, very many sessions.

use super::figures::Figures;
use super::storm::Storm;
use super::summary::back;
use crate::machine;
use crate::report::{aligned, median};

const MIB: f64 = 1024.0 * 1024.0;
/// What servers, broker and load client may hold together with very many sessions.
const MEMORY_GIB: f64 = 10.0;

pub(super) fn storms(figures: &Figures) -> String {
    let heading = [
        "what happened",
        "side",
        "recovered",
        "lost",
        "doubled",
        "all back after",
        "CPU per recovered",
    ];
    let cut = "all connections of one server cut";
    let cuts = [
        ("ours", &figures.storms),
        ("ours, three replicas", &figures.three_storms),
        ("Node, Redis Streams", &figures.streams_storms),
    ];
    let cuts = cuts.map(|(side, storms)| (cut, side, storms.iter().collect::<Vec<_>>()));
    let kills = figures.kills.iter();
    let kills = kills.map(|(side, storm)| ("SIGKILL of one server", *side, vec![storm]));
    let mut cells = vec![heading.map(String::from)];
    for (what, side, storms) in cuts.into_iter().chain(kills) {
        if !storms.is_empty() {
            cells.push(storm_cells(what, side, &storms));
        }
    }
    if cells.len() == 1 {
        return String::new();
    }
    format!("\n## Storms\n\n{}", aligned(&cells))
}

/// All storms of one kind.
fn storm_cells(what: &str, side: &str, storms: &[&Storm]) -> [String; 7] {
    let sum = |value: fn(&Storm) -> u64| storms.iter().map(|storm| value(storm)).sum::<u64>();
    let costs: Option<Vec<f64>> = storms
        .iter()
        .map(|storm| storm.us_per_recovered())
        .collect();
    let backs: Vec<String> = storms.iter().map(|storm| back(storm)).collect();
    [
        what.to_owned(),
        side.to_owned(),
        format!(
            "{} of {}",
            sum(|storm| storm.recovered as u64),
            sum(|storm| storm.victims as u64)
        ),
        sum(|storm| storm.lost).to_string(),
        sum(|storm| storm.doubled).to_string(),
        backs.join(", "),
        costs.map_or_else(
            || "-".to_owned(),
            |costs| format!("{:.0} us", median(&costs)),
        ),
    ]
}

pub(super) fn growth(figures: &Figures) -> String {
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

pub(super) fn sessions(figures: &Figures) -> String {
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
