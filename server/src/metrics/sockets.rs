//! What the socket layers count, summed over the nodes of this process.

use chatcluster_engineio::{CloseReason, Counters as EngineCounters};
use chatcluster_socketio::{Counters as SocketCounters, NotRecovered};

use super::scrape::Sample;

/// A counter's name, what it says, and where it is read.
type Row<C> = (&'static str, &'static str, fn(&C) -> u64);

const ENGINE: [Row<EngineCounters>; 10] = [
    ("handshakes", "Connections opened", |n| n.handshakes.get()),
    ("handshakes_refused", "Handshakes refused", |n| {
        n.refused.get()
    }),
    ("upgrades", "Changes to WebSocket", |n| n.upgrades.get()),
    ("upgrades_failed", "Upgrades given up", |n| {
        n.failed_upgrades.get()
    }),
    ("received_bytes", "Bytes read from clients", |n| {
        n.bytes_in.get()
    }),
    ("sent_bytes", "Bytes written to clients", |n| {
        n.bytes_out.get()
    }),
    ("received_packets", "Packets read", |n| n.packets_in.get()),
    ("sent_packets", "Packets written", |n| n.packets_out.get()),
    ("read_pauses", "Connections not read for a while", |n| {
        n.pauses.get()
    }),
    ("send_queue_full", "Sends refused by a queue", |n| {
        n.queue_full.get()
    }),
];

const SOCKETS: [Row<SocketCounters>; 13] = [
    ("connects", "Sockets connected", |n| n.connects.get()),
    ("connects_refused", "Connects refused", |n| {
        n.connects_refused.get()
    }),
    ("recovered", "Sessions recovered", |n| n.recovered.get()),
    (
        "recovered_from_log",
        "Recoveries that needed more than the memory window",
        |n| n.recovered_from_log.get(),
    ),
    ("events", "Events received", |n| n.events_in.get()),
    ("events_unhandled", "Events without handler", |n| {
        n.events_unhandled.get()
    }),
    ("events_misshaped", "Events not of their shape", |n| {
        n.events_misshaped.get()
    }),
    ("handler_panics", "Handlers that panicked", |n| {
        n.handler_panics.get()
    }),
    ("violations", "Protocol violations", |n| n.violations.get()),
    ("log_entries_delivered", "Log entries delivered", |n| {
        n.entries_delivered.get()
    }),
    ("overflows", "Send queues that overflowed", |n| {
        n.overflows.get()
    }),
    ("inbox_pauses", "Full inboxes", |n| n.inbox_pauses.get()),
    ("evictions", "Connections whose session moved", |n| {
        n.evictions.get()
    }),
];

/// Engine.IO: sessions, bytes, packets, errors.
pub fn engine_samples(nodes: &[&EngineCounters]) -> Vec<Sample> {
    let closed = CloseReason::ALL
        .iter()
        .map(|reason| (label(*reason), sum(nodes, |node| node.closed_for(*reason))))
        .collect();
    let errors = ["0", "1", "2", "3", "4", "5"]
        .iter()
        .enumerate()
        .map(|(code, label)| (*label, sum(nodes, |node| node.errors[code].get())))
        .collect();
    let polling = sum(nodes, |node| node.open_polling.get());
    let websocket = sum(nodes, |node| node.open_websocket.get());
    let mut samples = counters(&ENGINE, nodes);
    samples.extend([
        Sample::gauge("connections", "Open connections", polling)
            .labelled("transport", "polling")
            .and("websocket", websocket),
        Sample::counters("closes", "Connections closed, by reason", "reason", closed),
        Sample::counters(
            "engine_errors",
            "Requests refused, by Engine.IO's code",
            "code",
            errors,
        ),
    ]);
    samples
}

/// Socket.IO: sockets, events, recovery.
pub fn socket_samples(nodes: &[&SocketCounters]) -> Vec<Sample> {
    let not_recovered = NotRecovered::ALL
        .iter()
        .map(|cause| {
            (
                cause.as_str(),
                sum(nodes, |node| node.not_recovered[cause.index()].get()),
            )
        })
        .collect();
    let mut samples = counters(&SOCKETS, nodes);
    let help = "Recoveries refused, by cause";
    samples.push(Sample::counters(
        "not_recovered",
        help,
        "cause",
        not_recovered,
    ));
    samples
}

fn counters<C>(rows: &[Row<C>], nodes: &[&C]) -> Vec<Sample> {
    rows.iter()
        .map(|(name, help, read)| Sample::counter(name, help, sum(nodes, read)))
        .collect()
}

fn sum<C>(nodes: &[&C], read: impl Fn(&C) -> u64) -> u64 {
    nodes.iter().map(|node| read(node)).sum()
}

const fn label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::TransportError => "transport_error",
        CloseReason::TransportClose => "transport_close",
        CloseReason::PingTimeout => "ping_timeout",
        CloseReason::ParseError => "parse_error",
        CloseReason::ForcedClose => "forced_close",
        CloseReason::ForcedServerClose => "forced_server_close",
        CloseReason::ServerShuttingDown => "server_shutting_down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn every_metric_has_its_own_name() {
        let metrics = Metrics::new();
        metrics.add_history(&crate::history::Measures::default());
        metrics.add_samples(|| {
            let (engine, sockets) = (EngineCounters::default(), SocketCounters::default());
            let mut samples = engine_samples(&[&engine, &engine]);
            samples.extend(socket_samples(&[&sockets]));
            samples
        });
        let text = metrics.render();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{text}");
        assert!(
            text.contains("\nchatcluster_not_recovered_total{cause=\"gap\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("\nchatcluster_closes_total{reason=\"ping_timeout\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("\nchatcluster_connections{transport=\"websocket\"} 0\n"),
            "{text}"
        );
    }
}
