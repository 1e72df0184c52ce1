//! The one thread that writes: batches of records in log order, and the trim between batches.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::{
    Busy, CommitDone, Committed, Measures, OpenError, Options, Record,
    message::Body,
    queue::{Queue, Waited},
};

/// Records of one transaction: enough that the disk's wait is shared, few enough that it is short.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Rows deleted at once, so that a trim never holds up a commit for long.
const TRIM_ROWS: usize = 1000;
/// What a record weighs beside its body and room.
const RECORD_OVERHEAD_BYTES: usize = 128;

struct Job {
    position: u64,
    record: Record,
    done: CommitDone,
}

/// The callers' side of the writer.
pub(super) struct Writer {
    queue: Queue<Job>,
    last_position: AtomicU64,
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
        last_position: u64,
        options: &Options,
        measures: Measures,
    ) -> Result<(Arc<Self>, JoinHandle<()>), OpenError> {
        let writer = Arc::new(Self {
            queue: Queue::new(options.queue_records, options.queue_bytes),
            last_position: AtomicU64::new(last_position),
            measures,
        });
        let mut thread = Thread {
            connection,
            writer: Arc::clone(&writer),
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

    pub(super) fn is_open(&self) -> bool {
        self.queue.is_open()
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
        self.queue
            .push(
                Job {
                    position,
                    record,
                    done,
                },
                bytes,
            )
            .map_err(|_| {
                self.measures.busy.inc();
                Busy
            })?;
        Ok(())
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
    retention: Option<Duration>,
    trim_every: Duration,
    next_trim: Instant,
}

impl Thread {
    fn run(&mut self) {
        let mut jobs = Vec::new();
        loop {
            let wait = self.next_trim.saturating_duration_since(Instant::now());
            let waited = self
                .writer
                .queue
                .take(&mut jobs, BATCH_RECORDS, BATCH_BYTES, wait);
            match waited {
                Waited::Items => self.write(&mut jobs),
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

    fn write(&mut self, jobs: &mut Vec<Job>) {
        let started = Instant::now();
        let measures = &self.writer.measures;
        measures.batch_rows.observe(jobs.len() as f64);
        let outcome = commit(&mut self.connection, jobs);
        measures
            .commit_seconds
            .observe(started.elapsed().as_secs_f64());
        let results = match outcome {
            Ok(results) => {
                measures.commits.inc();
                let last = jobs.last().map_or(0, |job| job.position);
                self.writer.last_position.fetch_max(last, Ordering::AcqRel);
                results
            }
            Err(error) => {
                measures.failed_commits.inc();
                tracing::error!(error = %error, rows = jobs.len(), "cannot commit to the history");
                vec![Committed::Failed; jobs.len()]
            }
        };
        for (job, result) in jobs.drain(..).zip(results) {
            match result {
                Committed::Stored => measures.stored.inc(),
                Committed::Duplicate { .. } => measures.duplicates.inc(),
                Committed::Failed => measures.failed.inc(),
            };
            answer(job.done, result);
        }
    }

    /// Deletes one chunk of messages that are too old; the next look is at once if there may be more.
    fn trim(&mut self) {
        self.next_trim = Instant::now() + self.trim_every;
        let Some(before) = self
            .retention
            .and_then(|age| SystemTime::now().checked_sub(age))
        else {
            return;
        };
        match trim(&mut self.connection, unix_milliseconds(before)) {
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
        let mut jobs = Vec::new();
        while self
            .writer
            .queue
            .take(&mut jobs, usize::MAX, usize::MAX, Duration::ZERO)
            == Waited::Items
        {
            for job in jobs.drain(..) {
                self.writer.measures.failed.inc();
                answer(job.done, Committed::Failed);
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

/// One transaction; on an error nothing of it is stored.
fn commit(connection: &mut Connection, jobs: &[Job]) -> rusqlite::Result<Vec<Committed>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let results = jobs
        .iter()
        .map(|job| insert(&transaction, job))
        .collect::<Result<_, _>>()?;
    let last = jobs.iter().map(|job| job.position).max().unwrap_or(0);
    transaction
        .prepare_cached("UPDATE log_state SET last_position = max(last_position, ?1)")?
        .execute([sql_integer(last)])?;
    transaction.commit()?;
    Ok(results)
}

fn insert(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<Committed> {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(&job.record.body) else {
        tracing::error!(position = job.position, "a record's body is not a message");
        return Ok(Committed::Failed);
    };
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO messages (position, room, author, content, at, key) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
        )?
        .execute(params![
            sql_integer(job.position),
            &*job.record.room,
            body.author,
            body.content,
            sql_integer(body.at),
            job.record.key,
        ]);
    match inserted {
        Ok(0) => first_position(transaction, &job.record.key),
        Ok(_) => Ok(Committed::Stored),
        // A position that is taken spoils its own row only.
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == ErrorCode::ConstraintViolation =>
        {
            tracing::error!(position = job.position, "a position was given out twice");
            Ok(Committed::Failed)
        }
        Err(error) => Err(error),
    }
}

fn first_position(transaction: &Transaction<'_>, key: &[u8; 16]) -> rusqlite::Result<Committed> {
    let first: i64 = transaction
        .prepare_cached("SELECT position FROM messages WHERE key = ?1")?
        .query_row([key], |row| row.get(0))?;
    Ok(Committed::Duplicate {
        first: u64::try_from(first).unwrap_or(0),
    })
}

/// Deletes the prefix of the log that is older than `before`, at most one chunk. A younger
/// message ends the prefix, also if an older one (a clock was set back) lies behind it.
fn trim(connection: &mut Connection, before: i64) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first_kept: Option<i64> = transaction
        .prepare_cached(
            "SELECT position FROM (SELECT position, at FROM messages ORDER BY position LIMIT ?1) \
             WHERE at >= ?2 ORDER BY position LIMIT 1",
        )?
        .query_row(params![TRIM_ROWS as i64, before], |row| row.get(0))
        .optional()?;
    let deleted = transaction
        .prepare_cached(
            "DELETE FROM messages WHERE position IN \
             (SELECT position FROM messages ORDER BY position LIMIT ?1) AND position < ?2",
        )?
        .execute(params![TRIM_ROWS as i64, first_kept.unwrap_or(i64::MAX)])?;
    transaction.commit()?;
    Ok(deleted)
}

/// Positions and times are far below 2^63.
pub(super) fn sql_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unix_milliseconds(at: SystemTime) -> i64 {
    let age = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}
