//! What several nodes together promise. The suites are in `tests/`; here is only what more than one of them needs.

use chatcluster_socketio::{Config, Recovery};

/// The default configuration with recovery.
#[must_use]
pub fn recovering() -> Config {
    Config {
        recovery: Some(Recovery::default()),
        ..Config::default()
    }
}
