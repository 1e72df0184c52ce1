//! What happens between this server and NATS.

use chatcluster_socketio_nats::{Counters, NatsCluster};

use super::scrape::Sample;

/// A counter's name, what it says, and where it is read.
type Row = (&'static str, &'static str, fn(&Counters) -> u64);

const LOG: [Row; 10] = [
    (
        "nats_publish_retries",
        "Attempts to log a message made again",
        |n| n.publish_retries.get(),
    ),
    (
        "nats_publish_failures",
        "Events that could not be logged in time",
        |n| n.publish_failures.get(),
    ),
    (
        "nats_messages_too_large",
        "Messages that NATS does not carry",
        |n| n.messages_too_large.get(),
    ),
    (
        "nats_log_entries",
        "Log entries delivered to a namespace",
        |n| n.entries_delivered.get(),
    ),
    (
        "nats_log_entries_foreign",
        "Log entries of namespaces not served here",
        |n| n.entries_foreign.get(),
    ),
    (
        "nats_log_entries_unreadable",
        "Log entries of another format",
        |n| n.unreadable_messages.get(),
    ),
    (
        "nats_log_reads_renewed",
        "Times that the log was read anew from where it was",
        |n| n.follower_restarts.get(),
    ),
    (
        "nats_log_replays",
        "Times that the log was read for sessions that needed it",
        |n| n.log_replays.get(),
    ),
    (
        "nats_log_restarts",
        "Times that all sessions ended: a gap, or another log",
        |n| n.restarts.get(),
    ),
    (
        "nats_history_rows_retried",
        "Rows of the history stored late",
        |n| n.rows_retried.get(),
    ),
];

const NODES: [Row; 13] = [
    ("nats_connections_lost", "Connections to NATS lost", |n| {
        n.connections_lost.get()
    }),
    (
        "nats_permissions_violated",
        "Times that NATS denied this server a subject",
        |n| n.permissions_violated.get(),
    ),
    (
        "nats_slow_consumers",
        "Casts or answers dropped by the client library",
        |n| n.slow_consumers.get(),
    ),
    ("nats_nodes_dead", "Servers that fell silent", |n| {
        n.nodes_dead.get()
    }),
    (
        "nats_heartbeats_refused",
        "Heartbeats under this server's name, or of too many",
        |n| n.heartbeats_refused.get(),
    ),
    (
        "nats_messages_unreadable",
        "Casts, requests and heartbeats of another format",
        |n| n.messages_unreadable.get(),
    ),
    (
        "nats_messages_unsent",
        "Casts and requests that were not sent",
        |n| n.messages_unsent.get(),
    ),
    (
        "nats_casts_dropped",
        "Casts this server was too slow for",
        |n| n.casts_undelivered.get() + n.own_casts_dropped.get(),
    ),
    ("nats_evictions_lost", "Evictions lost on the way", |n| {
        n.evictions_lost.get()
    }),
    (
        "nats_requests_refused",
        "Requests refused: too many at once",
        |n| n.requests_refused.get(),
    ),
    ("nats_requests_late", "Requests not answered in time", |n| {
        n.requests_late.get()
    }),
    (
        "nats_answers_missing",
        "Servers that did not answer a request",
        |n| n.answers_missing.get(),
    ),
    ("nats_sweeps", "Sweeps of a dead server's sessions", |n| {
        n.sweeps.get()
    }),
];

const SESSIONS: [Row; 9] = [
    ("nats_session_reads", "Sessions asked for", |n| {
        n.session_reads.get()
    }),
    ("nats_session_writes", "Sessions written", |n| {
        n.session_writes.get()
    }),
    (
        "nats_session_conflicts",
        "Writes refused: somebody else wrote first",
        |n| n.session_conflicts.get(),
    ),
    (
        "nats_session_writes_found",
        "Writes that had been stored unheard",
        |n| n.session_writes_found.get(),
    ),
    (
        "nats_session_retries",
        "Session reads and writes tried again",
        |n| n.session_retries.get(),
    ),
    (
        "nats_session_timeouts",
        "Session reads and writes without an answer",
        |n| n.session_timeouts.get(),
    ),
    (
        "nats_sessions_unreadable",
        "Sessions of another format",
        |n| n.records_unreadable.get(),
    ),
    (
        "nats_sessions_swept",
        "Sessions of dead servers given their window",
        |n| n.sessions_swept.get(),
    ),
    (
        "nats_sessions_asserted",
        "Own sessions stored again after others took this server for dead",
        |n| n.sessions_asserted.get(),
    ),
];

/// The log, the other servers, the sessions.
pub fn samples(cluster: &NatsCluster) -> Vec<Sample> {
    let mut samples = counter_samples(cluster.counters());
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let is_read = u64::from(cluster.trouble().is_none());
    let readers = number(cluster.others_with_log().len()) + is_read;
    samples.extend([
        Sample::gauge(
            "nats_nodes_reading",
            "Servers of the cluster that read the log, by their own word",
            readers,
        ),
        Sample::gauge("nats_log_is_read", "1 while the log is being read", is_read),
        Sample::gauge(
            "nats_log_behind",
            "Messages to read until up to date",
            cluster.behind(),
        ),
        Sample::gauge(
            "nats_publishes_waiting",
            "Events on their way into the log",
            number(cluster.publishes_waiting()),
        ),
        Sample::gauge(
            "nats_nodes",
            "Servers of the cluster",
            number(cluster.node_count()),
        ),
    ]);
    samples
}

fn counter_samples(counters: &Counters) -> Vec<Sample> {
    let rows = LOG.iter().chain(&NODES).chain(&SESSIONS);
    rows.map(|(name, help, read)| Sample::counter(name, help, read(counters)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn every_counter_of_the_adapter_is_shown_once() {
        let counters = Counters::default();
        let fields = format!("{counters:?}").matches("Counter(").count();
        // Two kinds of dropped casts are one metric.
        assert_eq!(counter_samples(&counters).len(), fields - 1);
        let metrics = Metrics::new();
        metrics.add_samples(move || counter_samples(&Counters::default()));
        let text = metrics.render();
        let mut names: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE chatcluster_nats_"))
            .collect();
        let count = names.len();
        names.dedup();
        assert_eq!((names.len(), count), (fields - 1, fields - 1), "{text}");
    }
}
