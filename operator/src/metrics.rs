//! The names under which Prometheus sees the operator. Labels are bounded sets: no ChatCluster's name becomes one.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Media type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// From a look that finds nothing to do to one that is given up.
const DURATIONS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Every metric of the operator.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    reconciliations: Counter,
    failures: Family<ReasonLabel, Counter>,
    duration: Histogram,
    writes: Family<WriteLabels, Counter>,
    watch_failures: Counter,
    in_backoff: Gauge,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    verb: Verb,
    kind: String,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Verb {
    /// It was not there.
    Create,
    /// It was not as it shall be.
    Apply,
    /// It shall not be.
    Delete,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Delete => "delete",
        })
    }
}

impl Metrics {
    /// The metrics of an operator that has only started.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("chatcluster_operator");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running release", build);
        let this = Self {
            registry: Mutex::default(),
            reconciliations: Counter::default(),
            failures: Family::default(),
            duration: Histogram::new(DURATIONS),
            writes: Family::default(),
            watch_failures: Counter::default(),
            in_backoff: Gauge::default(),
            leader: Gauge::default(),
        };
        this.register(&mut registry);
        *this.registry.lock() = registry;
        this
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "reconciliations",
            "Looks at a ChatCluster, failed ones too",
            self.reconciliations.clone(),
        );
        let help = "Looks at a ChatCluster that failed, by the reason in its condition Degraded";
        registry.register("reconcile_failures", help, self.failures.clone());
        let help = "How long a look takes";
        registry.register_with_unit(
            "reconcile_duration",
            help,
            Unit::Seconds,
            self.duration.clone(),
        );
        let help = "Writes to the API server, statuses and children; none while nothing changes";
        registry.register("writes", help, self.writes.clone());
        registry.register(
            "watch_failures",
            "Watches that broke and were begun again",
            self.watch_failures.clone(),
        );
        registry.register(
            "in_backoff",
            "ChatClusters whose last look failed",
            self.in_backoff.clone(),
        );
        registry.register(
            "leader",
            "1 if this operator acts, 0 if it waits for the lease",
            self.leader.clone(),
        );
    }

    /// A look ended; `reason` if it failed.
    pub(crate) fn reconciled(&self, took: Duration, reason: Option<&'static str>) {
        self.reconciliations.inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(reason) = reason {
            self.failures.get_or_create(&ReasonLabel { reason }).inc();
        }
    }

    /// Something was written.
    pub(crate) fn wrote(&self, verb: Verb, kind: &str) {
        self.writes
            .get_or_create(&WriteLabels {
                verb,
                kind: kind.to_owned(),
            })
            .inc();
    }

    /// A watch broke.
    pub(crate) fn watch_failed(&self) {
        self.watch_failures.inc();
    }

    /// So many ChatClusters wait for another try.
    pub(crate) fn in_backoff(&self, count: usize) {
        self.in_backoff
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this operator acts.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // A String takes whatever is written to it.
        text::encode(&mut text, &self.registry.lock()).unwrap_or_default();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_seen_under_its_name() {
        let metrics = Metrics::new();
        metrics.reconciled(Duration::from_millis(20), None);
        metrics.reconciled(Duration::from_millis(20), Some("ApplyRefused"));
        metrics.wrote(Verb::Create, "StatefulSet");
        metrics.leads(true);
        metrics.in_backoff(1);
        let text = metrics.render();
        for line in [
            "chatcluster_operator_reconciliations_total 2",
            "chatcluster_operator_reconcile_failures_total{reason=\"ApplyRefused\"} 1",
            "chatcluster_operator_writes_total{verb=\"Create\",kind=\"StatefulSet\"} 1",
            "chatcluster_operator_reconcile_duration_seconds_count 2",
            "chatcluster_operator_leader 1",
            "chatcluster_operator_in_backoff 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
