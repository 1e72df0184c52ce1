//! The names under which Prometheus sees this server, and nothing else: counting happens where things happen.
//!
//! Labels are bounded sets; no room, user or address ever becomes one.

pub mod nats;
pub mod scrape;
pub mod sockets;

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, info::Info},
    registry::{Registry, Unit},
};

use crate::{
    codes::Code,
    history,
    metrics::scrape::Sample,
    relay::measures as relay,
    reload::{File, Outcome, Status},
};

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    refusals: Family<CodeLabel, Counter>,
    events: Family<EventLabel, Counter>,
    api_requests: Family<RequestLabel, Counter>,
    reloads: Family<ReloadLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    file: File,
    outcome: Outcome,
}

impl Metrics {
    /// The metrics of a server that has only started.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("chatcluster");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running release", build);
        let refusals = Family::<CodeLabel, Counter>::default();
        for code in Code::ALL {
            // A counter that starts to exist with its first event hides that event from `rate`.
            drop(refusals.get_or_create(&CodeLabel {
                code: code.number(),
            }));
        }
        let help = "Events and connections refused, by the code of docs/protocol.md; handshakes while draining are not counted";
        registry.register("refusals", help, refusals.clone());
        let events = Family::<EventLabel, Counter>::default();
        let help = "Events of the chat that were handled, refused ones included";
        registry.register("chat_events", help, events.clone());
        let api_requests = Family::<RequestLabel, Counter>::default();
        let help =
            "Requests of backends that were answered, by route (`none`: no such path) and status";
        registry.register("api_requests", help, api_requests.clone());
        let reloads = Family::<ReloadLabel, Counter>::default();
        for file in File::ALL {
            for outcome in Outcome::ALL {
                drop(reloads.get_or_create(&ReloadLabel { file, outcome }));
            }
        }
        let help = "Files that were read again because they had changed, by what became of it";
        registry.register("reloads", help, reloads.clone());
        Self {
            registry: Mutex::new(registry),
            refusals,
            events,
            api_requests,
            reloads,
        }
    }

    /// Counts a file that had changed.
    pub fn count_reload(&self, file: File, outcome: Outcome) {
        self.reloads
            .get_or_create(&ReloadLabel { file, outcome })
            .inc();
    }

    /// Adds what is known of files that may change.
    pub fn add_reloads(&self, status: &Arc<Status>) {
        let status = Arc::clone(status);
        self.add_samples(move || status.samples());
    }

    /// Counts a refusal.
    pub fn count_refusal(&self, code: Code) {
        self.refusals
            .get_or_create(&CodeLabel {
                code: code.number(),
            })
            .inc();
    }

    /// Counts an event. Its name is one of the protocol's, never text from a client.
    pub fn count_event(&self, event: &'static str) {
        self.events.get_or_create(&EventLabel { event }).inc();
    }

    /// Counts a request of a backend. `method` is from a closed set, `route` a route's template, never a path.
    pub fn count_api_request(&self, method: &'static str, route: String, status: u16) {
        let label = RequestLabel {
            method,
            route,
            status,
        };
        self.api_requests.get_or_create(&label).inc();
    }

    /// Adds what a history counts.
    pub fn add_history(&self, measures: &history::Measures) {
        let m = measures.clone();
        let mut registry = self.registry.lock();
        let history = registry.sub_registry_with_prefix("history");
        history.register("commits", "Transactions committed", m.commits);
        history.register(
            "failed_commits",
            "Transactions that failed",
            m.failed_commits,
        );
        history.register("stored_messages", "Messages stored", m.stored);
        history.register("duplicate_messages", "Messages stored before", m.duplicates);
        history.register(
            "failed_messages",
            "Messages not stored after a failure",
            m.failed,
        );
        history.register(
            "busy",
            "Messages refused because the queue was full",
            m.busy,
        );
        history.register("trimmed_messages", "Messages deleted by age", m.trimmed);
        history.register("batch_messages", "Messages per transaction", m.batch_rows);
        let help = "Duration of a transaction";
        history.register_with_unit("commit", help, Unit::Seconds, m.commit_seconds);
        history.register(
            "queue_messages",
            "Messages that wait for a transaction",
            m.queue_records,
        );
        let help = "Size of what waits for a transaction";
        history.register_with_unit("queue", help, Unit::Bytes, m.queue_bytes);
    }

    /// Adds what a relay counts.
    pub fn add_relay(&self, measures: &relay::Measures) {
        let m = measures.clone();
        let mut registry = self.registry.lock();
        let relay = registry.sub_registry_with_prefix("relay");
        let help =
            "Requests brought to the servers that hold their sessions, by what became of them";
        relay.register("requests", help, m.relayed);
        let help = "Requests that other servers brought here";
        relay.register("arrivals", help, m.arrived);
        let help = "Requests and WebSockets that are being relayed to other servers";
        relay.register("under_way", help, m.under_way);
    }

    /// Adds numbers that others count; `read` is called at each scrape.
    pub fn add_samples(&self, read: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        self.registry
            .lock()
            .register_collector(Box::new(scrape::Reading::new(read)));
    }

    /// The text for a scrape.
    pub fn render(&self) -> String {
        let mut rendered = String::new();
        let written = text::encode(&mut rendered, &self.registry.lock());
        written.expect("writing to a string does not fail");
        rendered
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_code_from_zero() {
        let metrics = Metrics::new();
        metrics.count_refusal(Code::TooManyEvents);
        metrics.count_event("chat message");
        let text = metrics.render();
        for line in [
            "chatcluster_refusals_total{code=\"102\"} 1",
            "chatcluster_refusals_total{code=\"401\"} 0",
            "chatcluster_chat_events_total{event=\"chat message\"} 1",
            concat!(
                "chatcluster_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in:\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_history_is_seen_under_names_with_units() {
        let metrics = Metrics::new();
        let measures = history::Measures::default();
        metrics.add_history(&measures);
        measures.commits.inc();
        measures.commit_seconds.observe(0.001);
        measures.queue_bytes.set(77);
        let text = metrics.render();
        for line in [
            "chatcluster_history_commits_total 1",
            "chatcluster_history_commit_seconds_count 1",
            "chatcluster_history_queue_bytes 77",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in:\n{text}"
            );
        }
    }

    #[test]
    fn the_relay_is_seen_by_kind_and_outcome_from_zero() {
        let metrics = Metrics::new();
        let measures = relay::Measures::default();
        metrics.add_relay(&measures);
        measures.under_way.inc();
        let text = metrics.render();
        for line in [
            "chatcluster_relay_requests_total{kind=\"websocket\",outcome=\"gone\"} 0",
            "chatcluster_relay_arrivals_total{outcome=\"refused\"} 0",
            "chatcluster_relay_under_way 1",
        ] {
            let is_there = text.lines().any(|found| found == line);
            assert!(is_there, "{line} not in:\n{text}");
        }
    }

    #[test]
    fn samples_are_read_at_each_scrape() {
        use std::sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        };
        let metrics = Metrics::new();
        let count = Arc::new(AtomicU64::new(3));
        let counted = Arc::clone(&count);
        metrics.add_samples(move || {
            let count = counted.load(Ordering::Relaxed);
            vec![
                Sample::counter("packets_in", "Packets read", count),
                Sample::gauge("open", "Open", 5)
                    .labelled("transport", "polling")
                    .and("websocket", 6),
            ]
        });
        assert!(
            metrics
                .render()
                .contains("\nchatcluster_packets_in_total 3\n")
        );
        count.store(4, Ordering::Relaxed);
        let text = metrics.render();
        assert!(
            text.contains("\nchatcluster_packets_in_total 4\n"),
            "{text}"
        );
        assert!(
            text.contains("\nchatcluster_open{transport=\"polling\"} 5\n"),
            "{text}"
        );
        assert!(
            text.contains("\nchatcluster_open{transport=\"websocket\"} 6\n"),
            "{text}"
        );
    }
}
