//! Threads that read, each with its own connection, behind one bounded queue.

use std::{
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    OpenError,
    queue::{Queue, Waited},
    schema,
};

/// Reads are short and mostly served from the page cache; two threads keep one slow page from
/// holding up all others.
const THREADS: usize = 2;
/// Reads that may wait; one more is refused as busy.
const QUEUE_READS: usize = 1024;
const IDLE: Duration = Duration::from_secs(3600);

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// A read gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Too many reads wait.
    #[error("too many reads of the history wait")]
    Busy,
    /// The answer came too late.
    #[error("the history did not answer in time")]
    Late,
    /// The history is closed.
    #[error("the history is closed")]
    Closed,
    /// SQLite failed.
    #[error("cannot read the history")]
    Query(#[source] rusqlite::Error),
}

/// The callers' side of the readers.
pub(super) struct Readers {
    queue: Queue<Read>,
    deadline: Duration,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn start(
        path: &Path,
        deadline: Duration,
    ) -> Result<(Arc<Self>, Vec<JoinHandle<()>>), OpenError> {
        let readers = Arc::new(Self {
            queue: Queue::new(QUEUE_READS, usize::MAX),
            deadline,
        });
        let connections = (0..THREADS)
            .map(|_| schema::open_reader(path))
            .collect::<Result<Vec<_>, _>>()?;
        let mut threads = Vec::new();
        for connection in connections {
            let mine = Arc::clone(&readers);
            let started = std::thread::Builder::new()
                .name("history-reader".to_owned())
                .spawn(move || mine.run(&connection));
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    readers.close();
                    return Err(OpenError::StartThread(error));
                }
            }
        }
        Ok((readers, threads))
    }

    /// Runs `query` on a reading thread.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + self.deadline;
        let read = Box::new(move |connection: &Connection| {
            // Nobody waits any more: the work would only hold up the others.
            if answer.is_closed() || Instant::now() >= deadline {
                return;
            }
            if answer.send(query(connection)).is_err() {
                tracing::debug!("an answer of the history came too late");
            }
        });
        if self.queue.push(read, 1).is_err() {
            return Err(if self.queue.is_open() {
                ReadError::Busy
            } else {
                ReadError::Closed
            });
        }
        match tokio::time::timeout_at(deadline.into(), answered).await {
            Ok(Ok(answer)) => answer.map_err(ReadError::Query),
            Ok(Err(_)) if Instant::now() < deadline => Err(ReadError::Closed),
            Ok(Err(_)) | Err(_) => Err(ReadError::Late),
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }

    fn run(&self, connection: &Connection) {
        let mut reads = Vec::new();
        while self.queue.take(&mut reads, 1, usize::MAX, IDLE) != Waited::Closed {
            for read in reads.drain(..) {
                read(connection);
            }
        }
    }
}
