//! What is counted about the writer. `metrics` gives these their names.

use prometheus_client::metrics::{
    counter::Counter,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

/// Counters of the writer; clones share their values.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Transactions committed.
    pub commits: Counter,
    /// Transactions that failed.
    pub failed_commits: Counter,
    /// Rows stored.
    pub stored: Counter,
    /// Rows whose key was there before.
    pub duplicates: Counter,
    /// Rows not stored because of a failure.
    pub failed: Counter,
    /// Records refused because the queue was full.
    pub busy: Counter,
    /// Rows deleted by age.
    pub trimmed: Counter,
    /// Records per transaction.
    pub batch_rows: Histogram,
    /// Duration of a transaction.
    pub commit_seconds: Histogram,
    /// Records that wait.
    pub queue_records: Gauge,
    /// Bytes that wait.
    pub queue_bytes: Gauge,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            failed_commits: Counter::default(),
            stored: Counter::default(),
            duplicates: Counter::default(),
            failed: Counter::default(),
            busy: Counter::default(),
            trimmed: Counter::default(),
            batch_rows: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
            queue_records: Gauge::default(),
            queue_bytes: Gauge::default(),
        }
    }
}
