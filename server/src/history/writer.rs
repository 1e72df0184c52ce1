//! The one thread that writes: batches of records in log order, and the trim between batches.

use std::{
    collections::BTreeSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    Busy, CommitDone, Committed, Measures, OpenError, Options, Record, Role,
    queue::{Queue, Waited},
    rows::{self, TRIM_ROWS},
    schema::State,
};

/// Records of one transaction: enough that the disk's wait is shared, few enough that it is short.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// What a record weighs beside its body and room.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// A record on its way into the history.
pub(super) struct Job {
    pub(super) position: u64,
    pub(super) record: Record,
    done: CommitDone,
}

enum Task {
    Commit(Job),
    /// Gives up all rows; what follows is of the log of this epoch.
    Reset {
        epoch: u64,
        done: oneshot::Sender<rusqlite::Result<()>>,
    },
}

/// The callers' side of the writer.
pub(super) struct Writer {
    queue: Queue<Task>,
    last_position: AtomicU64,
    epoch: Mutex<Option<u64>>,
    /// Where the log begins, if this is a copy of one.
    log_start: AtomicU64,
    /// Whether something that the log has could not be stored yet.
    is_behind: AtomicBool,
    measures: Measures,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("last_position", &self.last_position)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        state: State,
        options: &Options,
        measures: Measures,
    ) -> Result<(Arc<Self>, JoinHandle<()>), OpenError> {
        let writer = Arc::new(Self {
            queue: Queue::new(options.queue_records, options.queue_bytes),
            last_position: AtomicU64::new(state.last_position),
            epoch: Mutex::new(state.epoch),
            log_start: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            measures,
        });
        let mut thread = Thread {
            connection,
            writer: Arc::clone(&writer),
            role: options.role,
            failed: BTreeSet::new(),
            retention: options.retention,
            trim_every: options.trim_every,
            next_trim: Instant::now(),
        };
        let started: io::Result<_> = std::thread::Builder::new()
            .name("history-writer".to_owned())
            .spawn(move || thread.run());
        Ok((writer, started.map_err(OpenError::StartThread)?))
    }

    pub(super) fn last_position(&self) -> u64 {
        self.last_position.load(Ordering::Acquire)
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        *self.epoch.lock()
    }

    pub(super) fn is_open(&self) -> bool {
        self.queue.is_open() && !self.is_behind.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }

    pub(super) fn commit(
        &self,
        position: u64,
        record: Record,
        done: CommitDone,
    ) -> Result<(), Busy> {
        let bytes = record.body.len() + record.room.len() + RECORD_OVERHEAD_BYTES;
        let job = Job {
            position,
            record,
            done,
        };
        self.queue.push(Task::Commit(job), bytes).map_err(|_| {
            self.measures.busy.inc();
            Busy
        })?;
        Ok(())
    }

    /// Gives up all rows, behind what waits; `done` is dropped if the queue is full.
    pub(super) fn reset(&self, epoch: u64, done: oneshot::Sender<rusqlite::Result<()>>) {
        // Who asked sees that it was dropped, and asks again.
        let _refused = self.queue.push(Task::Reset { epoch, done }, 0);
    }

    pub(super) fn trim_below(&self, first: u64) {
        self.log_start.store(first, Ordering::Relaxed);
    }

    fn measure_queue(&self) {
        let (records, bytes) = self.queue.depth();
        self.measures
            .queue_records
            .set(i64::try_from(records).unwrap_or(i64::MAX));
        self.measures
            .queue_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

struct Thread {
    connection: Connection,
    writer: Arc<Writer>,
    role: Role,
    /// Positions that a read model could not store yet: nothing above the lowest of them is stored before it.
    failed: BTreeSet<u64>,
    retention: Option<Duration>,
    trim_every: Duration,
    next_trim: Instant,
}

impl Thread {
    fn run(&mut self) {
        let mut tasks = Vec::new();
        loop {
            let wait = self.next_trim.saturating_duration_since(Instant::now());
            let waited = self
                .writer
                .queue
                .take(&mut tasks, BATCH_RECORDS, BATCH_BYTES, wait);
            match waited {
                Waited::Items => self.work(&mut tasks),
                Waited::Idle => {}
                Waited::Closed => break,
            }
            self.writer.measure_queue();
            if Instant::now() >= self.next_trim {
                self.trim();
            }
        }
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        if let Err(error) = self.connection.query_row(checkpoint, [], |_| Ok(())) {
            // Not a loss: the next start reads the write-ahead log.
            tracing::warn!(error = %error, "the history was closed without a checkpoint");
        }
    }

    fn work(&mut self, tasks: &mut Vec<Task>) {
        let mut jobs = Vec::with_capacity(tasks.len());
        for task in tasks.drain(..) {
            match task {
                Task::Commit(job) => jobs.push(job),
                Task::Reset { epoch, done } => {
                    self.write(std::mem::take(&mut jobs));
                    // Whoever asked may have gone.
                    let _gone = done.send(self.reset(epoch));
                }
            }
        }
        self.write(jobs);
    }

    fn reset(&mut self, epoch: u64) -> rusqlite::Result<()> {
        // Until it succeeds the rows are another log's: the server is not ready.
        self.writer.is_behind.store(true, Ordering::Relaxed);
        rows::reset(&mut self.connection, epoch)?;
        self.writer.last_position.store(0, Ordering::Release);
        *self.writer.epoch.lock() = Some(epoch);
        self.failed.clear();
        self.writer.is_behind.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Stores what may be stored, and answers in the order of the calls.
    fn write(&mut self, jobs: Vec<Job>) {
        let is_free = |job: &Job| self.failed.range(..job.position).next().is_none();
        let free: Vec<bool> = jobs.iter().map(is_free).collect();
        let offered = jobs.iter().zip(&free);
        let offered: Vec<&Job> = offered
            .filter(|(_, free)| **free)
            .map(|(job, _)| job)
            .collect();
        let mut results = self.commit(&offered).into_iter();
        for (job, free) in jobs.into_iter().zip(free) {
            let result = free.then(|| results.next()).flatten();
            self.settle(job, result.unwrap_or(Committed::Failed));
        }
    }

    fn commit(&mut self, jobs: &[&Job]) -> Vec<Committed> {
        let Some(last) = jobs.last() else {
            return Vec::new();
        };
        let started = Instant::now();
        let measures = &self.writer.measures;
        measures.batch_rows.observe(jobs.len() as f64);
        let outcome = rows::commit(&mut self.connection, jobs);
        measures
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        match outcome {
            Ok(results) => {
                measures.commits.inc();
                self.writer
                    .last_position
                    .fetch_max(last.position, Ordering::AcqRel);
                results
            }
            Err(error) => {
                measures.failed_commits.inc();
                tracing::error!(error = %error, rows = jobs.len(), "cannot commit to the history");
                vec![Committed::Failed; jobs.len()]
            }
        }
    }

    fn settle(&mut self, job: Job, result: Committed) {
        let measures = &self.writer.measures;
        match result {
            Committed::Stored => measures.stored.inc(),
            Committed::Duplicate { .. } => measures.duplicates.inc(),
            Committed::Failed | Committed::Unfit => measures.failed.inc(),
        };
        if self.role == Role::ReadModel {
            if result == Committed::Failed {
                self.failed.insert(job.position);
            } else {
                self.failed.remove(&job.position);
            }
            let is_behind = !self.failed.is_empty();
            self.writer.is_behind.store(is_behind, Ordering::Relaxed);
        }
        answer(job.done, result);
    }

    /// Deletes one chunk of messages that are too old; the next look is at once if there may be more.
    fn trim(&mut self) {
        self.next_trim = Instant::now() + self.trim_every;
        let trimmed = match self.role {
            Role::ReadModel => {
                let first = self.writer.log_start.load(Ordering::Relaxed);
                rows::trim_below(&mut self.connection, first)
            }
            Role::Store => {
                let before = self
                    .retention
                    .and_then(|age| SystemTime::now().checked_sub(age));
                let Some(before) = before else { return };
                rows::trim_older(&mut self.connection, unix_milliseconds(before))
            }
        };
        match trimmed {
            Ok(rows) => {
                self.writer.measures.trimmed.inc_by(rows as u64);
                if rows == TRIM_ROWS {
                    self.next_trim = Instant::now();
                }
            }
            Err(error) => tracing::error!(error = %error, "cannot delete old messages"),
        }
    }
}

impl Drop for Thread {
    /// After a panic too, nobody is left waiting: what is queued fails, what comes is busy.
    fn drop(&mut self) {
        self.writer.queue.close();
        let mut tasks = Vec::new();
        while self
            .writer
            .queue
            .take(&mut tasks, usize::MAX, usize::MAX, Duration::ZERO)
            == Waited::Items
        {
            for task in tasks.drain(..) {
                // A reset that is dropped has failed, too.
                if let Task::Commit(job) = task {
                    self.writer.measures.failed.inc();
                    answer(job.done, Committed::Failed);
                }
            }
        }
    }
}

/// Calls `done`. A panic in it must not take the answers of all others with it.
fn answer(done: CommitDone, committed: Committed) {
    if catch_unwind(AssertUnwindSafe(|| done(committed))).is_err() {
        tracing::error!("what follows a commit panicked");
    }
}

fn unix_milliseconds(at: SystemTime) -> i64 {
    let age = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}
