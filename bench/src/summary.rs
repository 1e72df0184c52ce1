//! The text of the report: machine, method, table, what the table does not say.

use anyhow::Result;

use crate::machine;
use crate::measure::{Plan, Round};
use crate::report::{Row, aligned, median, table};
use crate::sample::Cost;
use crate::single::Figures;

/// Aim and must, as ratios to Node.
type Goal = (Option<f64>, Option<f64>);

const MEMORY: Goal = (Some(0.25), Some(0.50));
const ECHO: Goal = (Some(0.60), Some(0.70));
const NO_GOAL: Goal = (None, None);
const ROOM_AIMS: [f64; 3] = [0.70, 0.32, 0.10];
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// One round on one line, as progress.
pub(crate) fn line(round: &Round) -> String {
    let room: Vec<String> = round
        .room
        .iter()
        .map(|cost| format!("{:.2}", cost.total_us()))
        .collect();
    format!(
        "{:.1} KiB/conn, echo {:.1} and {:.1} us, delivery {} us",
        round.bytes_per_connection / KIB,
        round.echo_many.total_us(),
        round.echo_one.total_us(),
        room.join(" ")
    )
}

/// The section of the report.
pub(crate) fn render(figures: &Figures, plan: &Plan, is_quick: bool, busy: &str) -> Result<String> {
    let mut text = String::from("# One process of each\n\n");
    for line in machine::describe()? {
        text.push_str(&format!("- {line}\n"));
    }
    text.push_str(&format!("\n{busy}\n"));
    if is_quick {
        text.push_str("\n**Short run (QUICK=1): too short for any claim.**\n");
    }
    text.push_str("\n## Ratios to Node in the same run\n\n");
    text.push_str(&table(&rows(figures, plan)));
    text.push_str("\nMedian of the ratios of each round, with the smallest and the largest; smaller is better for us.\n");
    text.push_str("\n## User and system CPU, in microseconds\n\n");
    text.push_str(&aligned(&split(figures, plan)));
    text.push_str(&store(figures, plan));
    text.push_str(&method(figures, plan));
    Ok(text)
}

fn rows(figures: &Figures, plan: &Plan) -> Vec<Row> {
    let row = |name: String, unit, goal: Goal, value: &dyn Fn(&Round) -> f64| Row {
        name,
        unit,
        node: figures.node.iter().map(value).collect(),
        ours: figures.ours.iter().map(value).collect(),
        aim: goal.0,
        must: goal.1,
    };
    let memory = format!(
        "memory (RSS) per idle connection, {} of them",
        plan.idle_connections
    );
    let echo = format!("CPU per echo, {} in flight", plan.echo_sockets);
    let mut rows = vec![
        row(memory, "KiB", MEMORY, &|round| {
            round.bytes_per_connection / KIB
        }),
        row(echo.clone(), "us", ECHO, &|round| {
            round.echo_many.total_us()
        }),
        row("CPU per echo, 1 in flight".into(), "us", ECHO, &|round| {
            round.echo_one.total_us()
        }),
    ];
    for (index, (window, aim)) in plan.room_windows.into_iter().zip(ROOM_AIMS).enumerate() {
        let name = format!(
            "CPU per delivery, room of {}, {window} in flight",
            plan.room_members
        );
        rows.push(row(name, "us", (Some(aim), None), &|round| {
            round.room[index].total_us()
        }));
    }
    rows.push(foreign(figures, format!("{echo}, by socket.io-client")));
    let trip = "round trip of an echo, 1 in flight";
    rows.extend([
        row(
            "CPU per connect (WebSocket)".into(),
            "us",
            NO_GOAL,
            &|round| round.connect_us,
        ),
        row(format!("{trip}, p50"), "us", NO_GOAL, &|round| round.p50_us),
        row(format!("{trip}, p99"), "us", NO_GOAL, &|round| round.p99_us),
        row(
            "memory (RSS) without connections".into(),
            "MiB",
            NO_GOAL,
            &|round| round.start_bytes / MIB,
        ),
    ]);
    rows
}

/// The echo load by the official client.
fn foreign(figures: &Figures, name: String) -> Row {
    let totals = |costs: &[Cost]| costs.iter().map(|cost| cost.total_us()).collect();
    let node = totals(&figures.foreign_node);
    let ours = totals(&figures.foreign_ours);
    Row {
        name,
        unit: "us",
        node,
        ours,
        aim: ECHO.0,
        must: ECHO.1,
    }
}

/// User and system time apart.
fn split(figures: &Figures, plan: &Plan) -> Vec<[String; 5]> {
    let heading = [
        "load",
        "Node user",
        "Node system",
        "ours user",
        "ours system",
    ];
    let mut cells = vec![heading.map(String::from)];
    let mut push = |name: String, pick: &dyn Fn(&Round) -> Cost| {
        let middle = |rounds: &[Round], value: fn(Cost) -> f64| {
            let values: Vec<f64> = rounds.iter().map(|round| value(pick(round))).collect();
            format!("{:.2}", median(&values))
        };
        cells.push([
            name,
            middle(&figures.node, |cost| cost.user_us),
            middle(&figures.node, |cost| cost.system_us),
            middle(&figures.ours, |cost| cost.user_us),
            middle(&figures.ours, |cost| cost.system_us),
        ]);
    };
    push(format!("echo, {} in flight", plan.echo_sockets), &|round| {
        round.echo_many
    });
    push("echo, 1 in flight".into(), &|round| round.echo_one);
    for (index, window) in plan.room_windows.into_iter().enumerate() {
        push(format!("delivery, {window} in flight"), &|round| {
            round.room[index]
        });
    }
    cells
}

fn store(figures: &Figures, plan: &Plan) -> String {
    let Some(stores) = &figures.store else {
        return String::new();
    };
    let messages: Vec<f64> = stores
        .iter()
        .map(|store| store.messages_per_second)
        .collect();
    let cpu: Vec<f64> = stores
        .iter()
        .map(|store| store.cpu_us_per_message)
        .collect();
    let commits: Option<Vec<f64>> = stores
        .iter()
        .map(|store| store.commits_per_second)
        .collect();
    let commits = commits.map_or_else(
        || "the server does not count its transactions".to_owned(),
        |commits| format!("in {:.0} SQLite commits per second", median(&commits)),
    );
    format!(
        "\n## Message store (ours only; Node's Socket.IO stores nothing)\n\n{} senders, each with one `chat message` in flight, \
         each message delivered to all of them: **{:.0} messages per second** acknowledged as committed ({:.0}-{:.0}), {commits}; \
         {:.0} us of CPU per message with its {} deliveries, server on one core.\n",
        plan.store_senders,
        median(&messages),
        messages.iter().copied().fold(f64::INFINITY, f64::min),
        messages.iter().copied().fold(0.0, f64::max),
        median(&cpu),
        plan.store_senders,
    )
}

fn method(figures: &Figures, plan: &Plan) -> String {
    let delivery = |rounds: &[Round]| {
        rounds
            .last()
            .map_or_else(String::new, |round| round.delivery.clone())
    };
    let (node, ours) = (delivery(&figures.node), delivery(&figures.ours));
    format!(
        "\n## Method\n\n\
         - {} rounds, Node and ours in alternation; server on core 0, load client on core 1, one thread of ours against one Node process.\n\
         - CPU is user + system of the server process from `/proc`, over at least {} CPU-s a sample after {} CPU-s of warm-up, in a closed loop. \
         Work that the kernel does for the server on the client's core is in no figure. The load client polls without sleeping, \
         because waking an idle virtual core would be charged to the server (socket.io-client does sleep).\n\
         - Deliveries are counted by the receivers, which check that none is lost, doubled or out of order; echoes are compared with what was sent.\n\
         - Both: connection state recovery on (Node: `connectionStateRecovery: {{}}` with its in-memory adapter), perMessageDeflate and \
         httpCompression off, TCP_NODELAY on, pings every 25 s, WebSocket only, {} bytes of data per event, no authentication.\n\
         - One delivery of each, as it came: Node {} bytes `{node}`, ours {} bytes `{ours}`.\n\
         - Echoes in flight are on as many sockets, one each. The room's publisher is not a member.\n\
         - Memory: RSS {} s after the last connect, less RSS after 50 connections that came and went, by the number of connections. \
         The kernel's part (about 4 KiB per connection, the same for both) is not in it.\n\
         - CPU per connect is one burst of {} handshakes, 64 at a time: shorter than the other samples.\n\
         - Not compared here: socket.io on uWebSockets.js, which is lighter than Node's default engine and is not on npm.\n",
        plan.rounds,
        plan.effort.sample,
        plan.effort.warm_up,
        crate::load::DATA_BYTES,
        node.len(),
        ours.len(),
        plan.settle.as_secs(),
        plan.idle_connections,
    )
}
