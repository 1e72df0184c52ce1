//! Waiting for conditions, never for a time.

use std::future::Future;
use std::time::Duration;

/// Long enough for a busy machine, short enough for a test that hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often a condition that nobody announces is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The future's outcome.
///
/// # Panics
/// When it takes longer than [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Resolves when the condition holds; for what cannot be awaited otherwise, such as counters.
///
/// # Panics
/// When it does not hold within [`DEADLINE`].
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}
