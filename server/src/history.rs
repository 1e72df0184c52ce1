//! The message history: one SQLite file, one writer for all nodes, readers beside it.
//!
//! Writes come from the log ([`Store`]), in its order, and are answered after the commit. Reads
//! are pages by position. Deletion is by age, always a prefix of the log. What an event means
//! lies in `chat`; this module knows rooms, authors and contents only as text.

mod key;
mod measures;
mod message;
mod pages;
mod queue;
mod read_model;
mod readers;
mod rows;
mod schema;
mod writer;

use std::{fs::File, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

pub use chatcluster_socketio::log::{Busy, CommitDone, Committed, Record, Store};
use parking_lot::Mutex;

pub use key::{MessageId, random_key};
pub use measures::Measures;
pub use message::{Message, encode_body};
pub use pages::{Cursor, Page};
pub use readers::ReadError;
pub use schema::{Durability, OpenError};

use readers::Readers;
use writer::Writer;

/// Where the history lies and what it may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the database and its lock, made if absent.
    pub data_dir: PathBuf,
    /// Name of the database in the folder.
    pub file: String,
    /// What the messages are to it.
    pub role: Role,
    /// Age at which messages are deleted; `None` keeps them.
    pub retention: Option<Duration>,
    /// Time between two looks for old messages.
    pub trim_every: Duration,
    /// What a commit survives.
    pub durability: Durability,
    /// Records that may wait for the writer; one more is [`Busy`].
    pub queue_records: usize,
    /// Bytes that may wait for the writer; more is [`Busy`].
    pub queue_bytes: usize,
    /// Time within which a read is answered, waiting included.
    pub read_deadline: Duration,
    /// Positions up to here may not be given out, now or after a restart: clients may have been told them.
    pub taken_positions: u64,
    /// Size beyond which the database does not grow and commits fail, if limited.
    pub max_bytes: Option<u64>,
}

/// What a history is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It is where messages are stored: what it cannot store has not been said.
    #[default]
    Store,
    /// It is this node's copy of what a log stores (semantics 12): what it could not store it is given again, and stores
    /// nothing above it before. It keeps what the log keeps.
    ReadModel,
}

impl Options {
    /// The usual bounds, for a history in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            file: schema::FILE.to_owned(),
            role: Role::Store,
            retention: None,
            trim_every: Duration::from_secs(60),
            durability: Durability::default(),
            queue_records: 16_384,
            queue_bytes: 32 << 20,
            read_deadline: Duration::from_secs(5),
            taken_positions: 0,
            max_bytes: None,
        }
    }

    /// The usual bounds, for the copy of the log of the cluster with this prefix. The log makes it durable.
    pub fn read_model(data_dir: impl Into<PathBuf>, prefix: &str) -> Self {
        Self {
            file: format!("{prefix}.nats.db"),
            role: Role::ReadModel,
            durability: Durability::Normal,
            ..Self::new(data_dir)
        }
    }
}

/// The open history. Dropping it does what [`close`](Self::close) does.
#[derive(Debug)]
pub struct History {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    measures: Measures,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the threads have ended; then the next process may open the folder.
    lock: Mutex<Option<File>>,
}

impl History {
    /// Opens or makes the database, and starts its threads. Blocks while SQLite recovers a log.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let lock = schema::lock(&options.data_dir)?;
        let path = options.data_dir.join(&options.file);
        let (connection, state) = schema::open_writer(&path, options)?;
        let measures = Measures::default();
        let (readers, mut threads) = Readers::start(&path, options.read_deadline)?;
        let (writer, thread) = Writer::start(connection, state, options, measures.clone())?;
        threads.push(thread);
        Ok(Self {
            writer,
            readers,
            measures,
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// What is counted about the writer.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Whether the writer takes records, and as a read model stores them; if not, the server is not ready.
    pub fn is_writing(&self) -> bool {
        self.writer.is_open()
    }

    /// Commits what waits, folds the write-ahead log into the file, ends the threads. Blocks;
    /// its bound is the queue's.
    pub fn close(&self) {
        self.writer.close();
        self.readers.close();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the history panicked");
            }
        }
        drop(self.lock.lock().take());
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for History {
    fn last_position(&self) -> u64 {
        self.writer.last_position()
    }

    fn commit(&self, position: u64, record: Record, done: CommitDone) -> Result<(), Busy> {
        self.writer.commit(position, record, done)
    }
}

#[cfg(test)]
mod tests;
