//! The cluster in one thread, in virtual time: real nodes over a broker that is simulated, and people who use them. A seed
//! decides everything that could be otherwise, so that the same seed is the same run.
//!
//! What is real: `SocketIo` with its transport, and all of this crate but [`crate::nats`] and the connection. What is
//! simulated: the broker and the ways to it (`broker`, `links`, `weather`), the rows of history (`rows`), the clients
//! (`person`). What clients were sent and told is judged by `oracle`.

mod broker;
mod course;
mod links;
mod node;
mod oracle;
mod person;
mod ports;
#[path = "../../socketio/tests/walk/random.rs"]
mod random;
mod rows;
mod weather;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use chatcluster_socketio::outside::simulated;
use parking_lot::Mutex;

use course::Run;
use oracle::Counts;

/// Runs a seed from its beginning to its end.
fn run(seed: u64) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let run = runtime.block_on(async {
        simulated::begin(seed);
        course::run(seed).await
    });
    drop(runtime);
    simulated::end();
    run
}

fn number(variable: &str, usual: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else {
        return usual;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{variable} is a number"))
}

/// How far the runs have come together.
#[derive(Default)]
struct Progress {
    runs: u64,
    counts: Counts,
}

impl Progress {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.counts.add(run.counts);
        if self.runs.is_multiple_of(250) {
            println!("{} runs: {:?}", self.runs, self.counts);
        }
    }
}

/// `SEEDS` runs from `SEED` on, on all threads. The first that breaks a promise ends them.
#[test]
fn the_promises_hold_whatever_goes_wrong() {
    let (first, count) = (number("SEED", 1), number("SEEDS", 30));
    let next = AtomicU64::new(first);
    let progress = Mutex::new(Progress::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let run = run(seed);
            progress.lock().add(&run);
            if let Some(broken) = run.broken {
                next.store(u64::MAX / 2, Ordering::Relaxed);
                let again = format!("make simulate SEED={seed} SEEDS=1 TRACE=100000");
                panic!("{}\n\nseed {seed}: {broken}\n{again}", run.trace);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let Progress { runs, counts } = progress.into_inner();
    println!("{runs} runs from seed {first} on: {counts:?}");
    assert!(
        counts.received > 0 && counts.recovered > 0 && counts.acknowledged > 0 && counts.shared > 0,
        "runs that show nothing"
    );
}

#[test]
fn a_seed_is_one_run() {
    for seed in 1..=8 {
        let [first, second] = [run(seed), run(seed)];
        assert!(first.hash.0 > 100, "a run that shows nothing");
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
}
