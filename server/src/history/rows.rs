//! The statements that write: each is one transaction.

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::{Committed, message::Body, writer::Job};

/// Rows deleted at once, so that a trim never holds up a commit for long.
pub(super) const TRIM_ROWS: usize = 1000;

/// One transaction; on an error nothing of it is stored.
pub(super) fn commit(
    connection: &mut Connection,
    jobs: &[&Job],
) -> rusqlite::Result<Vec<Committed>> {
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
        return Ok(Committed::Unfit);
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
            Ok(Committed::Unfit)
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
pub(super) fn trim_older(connection: &mut Connection, before: i64) -> rusqlite::Result<usize> {
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

/// Deletes what lies below a position, at most one chunk.
pub(super) fn trim_below(connection: &mut Connection, first: u64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM messages WHERE position IN \
             (SELECT position FROM messages WHERE position < ?1 ORDER BY position LIMIT ?2)",
        )?
        .execute(params![sql_integer(first), TRIM_ROWS as i64])
}

/// Gives up all rows of a read model, which is of this epoch from now on.
pub(super) fn reset(connection: &mut Connection, epoch: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM messages", [])?;
    transaction.execute("UPDATE log_state SET last_position = 0", [])?;
    transaction.execute(
        "INSERT INTO log_epoch VALUES (0, ?1) ON CONFLICT (id) DO UPDATE SET epoch = ?1",
        [sql_integer(epoch)],
    )?;
    transaction.commit()
}

/// Positions and times are far below 2^63.
pub(super) fn sql_integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
