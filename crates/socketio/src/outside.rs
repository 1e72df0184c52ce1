//! What a process is given from outside: chance, and the time of day. Everything here and in `socketio-nats` that could
//! differ from one run to the next begins with one of the two; a simulation gives both itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use rand::distr::{Distribution, StandardUniform};

/// A random value, fit for secrets.
#[must_use]
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(feature = "simulation")]
    if let Some(random) = simulated::random() {
        return random;
    }
    rand::rng().random()
}

/// The time of day.
#[must_use]
pub fn since_1970() -> Duration {
    #[cfg(feature = "simulation")]
    if let Some(time) = simulated::since_1970() {
        return time;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// Chance and time of a simulation, which runs on one thread.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::RefCell;
    use std::time::Duration;

    use rand::distr::{Distribution, StandardUniform};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    use tokio::time::Instant;

    /// Seconds since 1970 at which every simulation begins.
    const BEGIN: Duration = Duration::from_secs(1_900_000_000);

    thread_local! {
        static WORLD: RefCell<Option<(StdRng, Instant)>> = const { RefCell::new(None) };
    }

    /// From here on this thread is given numbers that follow from the seed, and the time of its tokio runtime.
    pub fn begin(seed: u64) {
        WORLD.set(Some((StdRng::seed_from_u64(seed), Instant::now())));
    }

    /// This thread is in the real world again.
    pub fn end() {
        WORLD.set(None);
    }

    pub(super) fn random<T>() -> Option<T>
    where
        StandardUniform: Distribution<T>,
    {
        WORLD.with_borrow_mut(|world| world.as_mut().map(|(random, _)| random.random()))
    }

    pub(super) fn since_1970() -> Option<Duration> {
        WORLD.with_borrow(|world| world.as_ref().map(|(_, begun)| BEGIN + begun.elapsed()))
    }
}
