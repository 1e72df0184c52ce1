//! How many messages per second the history commits, with 64 senders that each wait for their
//! acknowledgement before the next message, and with senders that do not wait.
//!
//! `cargo run --release -p chatcluster-server --example commits [DIR]`; the database lies in a
//! temporary folder inside DIR (default: the current one), because the disk under it is what is measured.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use chatcluster_server::history::{
    Busy, Committed, Durability, History, Options, Record, Store, encode_body, random_key,
};

const SENDERS: usize = 64;
const DURATION: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let base = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    println!(
        "{:<12} {:<18} {:>10} {:>12} {:>14}",
        "synchronous", "senders", "rows/s", "commits/s", "rows/commit"
    );
    for durability in [Durability::Full, Durability::Normal] {
        measure(&base, durability, 1)?;
        measure(&base, durability, 16)?;
    }
    Ok(())
}

/// Hands out positions and commits in their order, as the log does.
struct Log {
    history: History,
    position: Mutex<u64>,
}

impl Log {
    fn commit(&self, record: Record, done: mpsc::Sender<Committed>) -> Result<(), Busy> {
        let mut position = self.position.lock().expect("no sender panics");
        *position += 1;
        // The sender may have ended with the measurement.
        let answer = move |committed| done.send(committed).unwrap_or_default();
        self.history.commit(*position, record, Box::new(answer))
    }
}

fn measure(base: &Path, durability: Durability, in_flight: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(base).context("cannot make a temporary folder")?;
    let options = Options {
        durability,
        ..Options::new(dir.path())
    };
    let history = History::open(&options)?;
    let log = Arc::new(Log {
        history,
        position: Mutex::new(0),
    });
    let is_over = AtomicBool::new(false);
    let rows = AtomicU64::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| send(&log, &is_over, &rows, in_flight));
        }
        std::thread::sleep(DURATION);
        is_over.store(true, Ordering::Relaxed);
    });
    let seconds = started.elapsed().as_secs_f64();
    let rows = rows.load(Ordering::Relaxed) as f64;
    let commits = log.history.measures().commits.get() as f64;
    println!(
        "{:<12} {:<18} {:>10.0} {:>12.0} {:>14.1}",
        format!("{durability:?}"),
        format!("{SENDERS} x {in_flight} in flight"),
        rows / seconds,
        commits / seconds,
        rows / commits
    );
    Ok(())
}

fn send(log: &Log, is_over: &AtomicBool, rows: &AtomicU64, in_flight: usize) {
    let (done, answers) = mpsc::channel();
    let body = encode_body(
        "sender",
        "a message of a usual length, as people write them",
        1,
    );
    let commit = || {
        let record = Record {
            key: random_key(),
            room: Arc::from(""),
            body: body.clone(),
        };
        log.commit(record, done.clone())
            .expect("the queue holds all senders");
    };
    (0..in_flight).for_each(|_| commit());
    while !is_over.load(Ordering::Relaxed) {
        let committed = answers.recv().expect("every record is answered");
        assert_eq!(committed, Committed::Stored);
        rows.fetch_add(1, Ordering::Relaxed);
        commit();
    }
}
