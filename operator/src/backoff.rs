//! How long to wait after failures: per object, twice as long each time, never in step with others.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);
/// The largest part of a pause that is left to chance.
const JITTER: f64 = 0.2;

/// How often each object has failed in a row. It holds one number per failing object, and forgets it with success or with
/// the object.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// It failed once more: how long to wait.
    pub(crate) fn next(&self, key: &str) -> Duration {
        let mut failures = self.0.lock();
        let count = failures.entry(key.to_owned()).or_default();
        let pause = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        jittered(pause)
    }

    /// It succeeded, or is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// Objects that failed last.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// `pause`, up to a fifth shorter or longer.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(pause: Duration, expected: Duration) -> bool {
        pause >= expected.mul_f64(0.79) && pause <= expected.mul_f64(1.21)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_each_object_has_its_own() {
        let backoff = Backoff::default();
        for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
            let pause = backoff.next("a");
            assert!(
                is_about(pause, Duration::from_secs(seconds)),
                "{pause:?} for {seconds}"
            );
        }
        assert!(is_about(backoff.next("b"), FIRST));
        assert_eq!(backoff.len(), 2);
        backoff.forget("a");
        assert!(is_about(backoff.next("a"), FIRST));
    }

    #[test]
    fn pauses_are_not_all_the_same() {
        let pauses: std::collections::HashSet<Duration> =
            (0..20).map(|_| jittered(LONGEST)).collect();
        assert!(pauses.len() > 1);
    }
}
