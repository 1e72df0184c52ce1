//! What the socket layers count, summed over the nodes of this process.

use chatcluster_engineio::{CloseReason, Counters as EngineCounters};
use chatcluster_socketio::{Counters as SocketCounters, NotRecovered};

use super::scrape::Sample;

/// Engine.IO: sessions, bytes, packets, errors.
pub fn engine_samples(nodes: &[&EngineCounters]) -> Vec<Sample> {
    let sum = |read: fn(&EngineCounters) -> u64| nodes.iter().map(|node| read(node)).sum();
    let closed = CloseReason::ALL
        .iter()
        .map(|reason| {
            (
                label(*reason),
                nodes.iter().map(|node| node.closed_for(*reason)).sum(),
            )
        })
        .collect();
    let errors = ["0", "1", "2", "3", "4", "5"]
        .iter()
        .enumerate()
        .map(|(code, label)| {
            (
                *label,
                nodes.iter().map(|node| node.errors[code].get()).sum(),
            )
        })
        .collect();
    vec![
        Sample::gauge(
            "connections",
            "Open connections",
            sum(|n| n.open_polling.get()),
        )
        .labelled("transport", "polling")
        .and("websocket", sum(|n| n.open_websocket.get())),
        Sample::counter(
            "handshakes",
            "Connections opened",
            sum(|n| n.handshakes.get()),
        ),
        Sample::counter(
            "handshakes_refused",
            "Handshakes refused",
            sum(|n| n.refused.get()),
        ),
        Sample::counter(
            "upgrades",
            "Changes to WebSocket",
            sum(|n| n.upgrades.get()),
        ),
        Sample::counter(
            "upgrades_failed",
            "Upgrades given up",
            sum(|n| n.failed_upgrades.get()),
        ),
        Sample::counters("closes", "Connections closed, by reason", "reason", closed),
        Sample::counters(
            "engine_errors",
            "Requests refused, by Engine.IO's code",
            "code",
            errors,
        ),
        Sample::counter(
            "received_bytes",
            "Bytes read from clients",
            sum(|n| n.bytes_in.get()),
        ),
        Sample::counter(
            "sent_bytes",
            "Bytes written to clients",
            sum(|n| n.bytes_out.get()),
        ),
        Sample::counter(
            "received_packets",
            "Packets read",
            sum(|n| n.packets_in.get()),
        ),
        Sample::counter(
            "sent_packets",
            "Packets written",
            sum(|n| n.packets_out.get()),
        ),
        Sample::counter(
            "read_pauses",
            "Connections not read for a while",
            sum(|n| n.pauses.get()),
        ),
        Sample::counter(
            "send_queue_full",
            "Sends refused by a queue",
            sum(|n| n.queue_full.get()),
        ),
    ]
}

/// Socket.IO: sockets, events, recovery.
pub fn socket_samples(nodes: &[&SocketCounters]) -> Vec<Sample> {
    let sum = |read: fn(&SocketCounters) -> u64| nodes.iter().map(|node| read(node)).sum();
    let not_recovered = NotRecovered::ALL
        .iter()
        .map(|cause| {
            let count = nodes
                .iter()
                .map(|node| node.not_recovered[cause.index()].get())
                .sum();
            (cause.as_str(), count)
        })
        .collect();
    vec![
        Sample::counter("connects", "Sockets connected", sum(|n| n.connects.get())),
        Sample::counter(
            "connects_refused",
            "Connects refused",
            sum(|n| n.connects_refused.get()),
        ),
        Sample::counter(
            "recovered",
            "Sessions recovered",
            sum(|n| n.recovered.get()),
        ),
        Sample::counters(
            "not_recovered",
            "Recoveries refused, by cause",
            "cause",
            not_recovered,
        ),
        Sample::counter("events", "Events received", sum(|n| n.events_in.get())),
        Sample::counter(
            "events_unhandled",
            "Events without handler",
            sum(|n| n.events_unhandled.get()),
        ),
        Sample::counter(
            "events_misshaped",
            "Events not of their shape",
            sum(|n| n.events_misshaped.get()),
        ),
        Sample::counter(
            "handler_panics",
            "Handlers that panicked",
            sum(|n| n.handler_panics.get()),
        ),
        Sample::counter(
            "violations",
            "Protocol violations",
            sum(|n| n.violations.get()),
        ),
        Sample::counter(
            "log_entries_delivered",
            "Log entries delivered",
            sum(|n| n.entries_delivered.get()),
        ),
        Sample::counter(
            "overflows",
            "Send queues that overflowed",
            sum(|n| n.overflows.get()),
        ),
        Sample::counter(
            "inbox_pauses",
            "Full inboxes",
            sum(|n| n.inbox_pauses.get()),
        ),
        Sample::counter(
            "evictions",
            "Connections whose session moved",
            sum(|n| n.evictions.get()),
        ),
    ]
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
