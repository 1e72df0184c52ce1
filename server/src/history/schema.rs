//! The database file: who may open it, what it must look like, how its connections are set up.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{Options, Role};

/// Name of the database in the data folder.
pub(super) const FILE: &str = "chat.db";
const LOCK_FILE: &str = "chat.lock";
/// Marks our files (`PRAGMA application_id`): "CHAT".
const APPLICATION_ID: i32 = 0x4348_4154;
/// Version of the tables (`PRAGMA user_version`).
const SCHEMA_VERSION: i32 = 1;
/// Readers never block the writer in WAL mode; this covers a checkpoint that starts anew.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const WAL_SIZE_LIMIT_BYTES: i64 = 64 << 20;

const TABLES: &str = "
CREATE TABLE messages (
    position INTEGER PRIMARY KEY,
    room TEXT NOT NULL,
    author TEXT NOT NULL,
    content TEXT NOT NULL,
    at INTEGER NOT NULL,
    key BLOB NOT NULL UNIQUE
) STRICT;
CREATE INDEX messages_by_room ON messages (room, position);
-- The highest position outlives the message that had it, so that no position is given out twice.
CREATE TABLE log_state (id INTEGER PRIMARY KEY CHECK (id = 0), last_position INTEGER NOT NULL) STRICT;
INSERT INTO log_state VALUES (0, 0);
";

/// In a read model only: the epoch of the log that the messages are from.
const EPOCH_TABLE: &str = "
CREATE TABLE IF NOT EXISTS log_epoch (id INTEGER PRIMARY KEY CHECK (id = 0), epoch INTEGER NOT NULL) STRICT;
";

/// What a database says of its messages as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// The highest position that it has stored, or that may not be given out for another reason.
    pub(super) last_position: u64,
    /// The epoch of the log that the messages are from, in a read model.
    pub(super) epoch: Option<u64>,
}

/// What an acknowledged message survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The loss of power: each commit waits for the disk.
    #[default]
    Full,
    /// The death of the process only.
    Normal,
}

/// The history cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    CreateFolder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another server has the folder.
    #[error("the data folder {} is in use by another server; give this one its own --data-dir", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database cannot be opened or set up.
    #[error("cannot open the history {}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The file is something else.
    #[error("{} is not a ChatCluster history; it was left untouched", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later release.
    #[error("the history {} has schema {found}, this server knows {SCHEMA_VERSION}: use the newer server", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i32,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread of the history")]
    StartThread(#[source] io::Error),
}

/// Makes the folder and takes its lock, which the system gives back when the process ends in
/// whatever way.
pub(super) fn lock(data_dir: &Path) -> Result<File, OpenError> {
    std::fs::create_dir_all(data_dir).map_err(|source| OpenError::CreateFolder {
        path: data_dir.to_owned(),
        source,
    })?;
    let path = data_dir.join(LOCK_FILE);
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(|source| OpenError::Lock {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: data_dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path, source }),
    }
}

/// Opens the writing connection; makes the tables in a new file.
pub(super) fn open_writer(
    path: &Path,
    options: &Options,
) -> Result<(Connection, State), OpenError> {
    let failed = |source| match source {
        rusqlite::Error::SqliteFailure(error, _)
            if error.code == rusqlite::ErrorCode::NotADatabase =>
        {
            OpenError::Foreign {
                path: path.to_owned(),
            }
        }
        source => OpenError::Open {
            path: path.to_owned(),
            source,
        },
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    let application: i32 = pragma(&connection, "application_id").map_err(failed)?;
    let found: i32 = pragma(&connection, "user_version").map_err(failed)?;
    let objects = "SELECT count(*) FROM sqlite_schema";
    let objects: i64 = connection
        .query_row(objects, [], |row| row.get(0))
        .map_err(failed)?;
    match (application, objects) {
        (APPLICATION_ID, _) if found > SCHEMA_VERSION => {
            return Err(OpenError::NewerSchema {
                path: path.to_owned(),
                found,
            });
        }
        (APPLICATION_ID, _) | (0, 0) => {}
        _ => {
            return Err(OpenError::Foreign {
                path: path.to_owned(),
            });
        }
    }
    set_up(&connection, options).map_err(failed)?;
    if objects == 0 {
        create(&mut connection).map_err(failed)?;
    }
    let state = read_state(&connection, options).map_err(failed)?;
    Ok((connection, state))
}

fn read_state(connection: &Connection, options: &Options) -> rusqlite::Result<State> {
    let last_position = raise_last_position(connection, options.taken_positions)?;
    let epoch = match options.role {
        Role::Store => None,
        Role::ReadModel => {
            connection.execute_batch(EPOCH_TABLE)?;
            let epoch = "SELECT epoch FROM log_epoch";
            let epoch: Option<i64> = connection
                .query_row(epoch, [], |row| row.get(0))
                .optional()?;
            epoch.and_then(|epoch| u64::try_from(epoch).ok())
        }
    };
    Ok(State {
        last_position,
        epoch,
    })
}

/// The highest position that may not be given out again, which is at least `taken` from now on.
fn raise_last_position(connection: &Connection, taken: u64) -> rusqlite::Result<u64> {
    let raise =
        "UPDATE log_state SET last_position = max(last_position, ?1) RETURNING last_position";
    let taken = i64::try_from(taken).unwrap_or(i64::MAX);
    let last: i64 = connection.query_row(raise, [taken], |row| row.get(0))?;
    Ok(u64::try_from(last).unwrap_or(0))
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |source| OpenError::Open {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn set_up(connection: &Connection, options: &Options) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match options.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT_BYTES)?;
    if let Some(max_bytes) = options.max_bytes {
        let page_bytes: i64 = pragma(connection, "page_size")?;
        let pages = i64::try_from(max_bytes).unwrap_or(i64::MAX) / page_bytes;
        connection.pragma_update(None, "max_page_count", pages.max(1))?;
    }
    Ok(())
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}
