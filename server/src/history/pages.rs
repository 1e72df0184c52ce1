//! Reading the history: pages both ways, what was missed, where a message is.
//!
//! Every query runs along an index and has a bound on the rows it visits.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{History, Message, ReadError, readers::Readers, rows::sql_integer};

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The end of the history.
    Newest,
    /// Directly before this position.
    Before(u64),
    /// Directly after this position.
    After(u64),
}

/// Messages of one room, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction of the cursor.
    pub more: bool,
}

const COLUMNS: &str = "SELECT position, content, author, at FROM messages";

impl History {
    /// A page of at most `limit` messages. The lobby is the room with the empty name.
    pub async fn page(&self, room: &str, cursor: Cursor, limit: usize) -> Result<Page, ReadError> {
        let room = room.to_owned();
        self.readers
            .read(move |connection| page(connection, &room, cursor, limit))
            .await
    }

    /// The newest `limit` messages, oldest first.
    pub async fn newest(&self, room: &str, limit: usize) -> Result<Vec<Message>, ReadError> {
        Ok(self.page(room, Cursor::Newest, limit).await?.messages)
    }

    /// At most `limit` messages after `position`, oldest first.
    pub async fn after(
        &self,
        room: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<Message>, ReadError> {
        Ok(self
            .page(room, Cursor::After(position), limit)
            .await?
            .messages)
    }

    /// How many messages follow `position`, counted up to `most`.
    pub async fn count_after(
        &self,
        room: &str,
        position: u64,
        most: usize,
    ) -> Result<usize, ReadError> {
        let room = room.to_owned();
        let count = move |connection: &Connection| {
            let rows: i64 = connection
                .prepare_cached(
                    "SELECT count(*) FROM \
                     (SELECT 1 FROM messages WHERE room = ?1 AND position > ?2 LIMIT ?3)",
                )?
                .query_row(
                    params![room, sql_integer(position), sql_limit(most)],
                    |row| row.get(0),
                )?;
            Ok(usize::try_from(rows).unwrap_or(0))
        };
        self.readers.read(count).await
    }

    /// The position of the message with this key.
    pub async fn position_of(&self, key: [u8; 16]) -> Result<Option<u64>, ReadError> {
        position_of(&self.readers, key).await
    }

    /// The highest position in a room; 0 if it is empty.
    pub async fn last_position_in(&self, room: &str) -> Result<u64, ReadError> {
        let room = room.to_owned();
        let find = move |connection: &Connection| {
            connection
                .prepare_cached("SELECT ifnull(max(position), 0) FROM messages WHERE room = ?1")?
                .query_row([room], |row| unsigned(row, 0))
        };
        self.readers.read(find).await
    }
}

pub(super) async fn position_of(
    readers: &Readers,
    key: [u8; 16],
) -> Result<Option<u64>, ReadError> {
    let find = move |connection: &Connection| {
        connection
            .prepare_cached("SELECT position FROM messages WHERE key = ?1")?
            .query_row([key], |row| unsigned(row, 0))
            .optional()
    };
    readers.read(find).await
}

fn page(
    connection: &Connection,
    room: &str,
    cursor: Cursor,
    limit: usize,
) -> rusqlite::Result<Page> {
    let (comparison, position, order) = match cursor {
        Cursor::Newest => ("<=", i64::MAX, "DESC"),
        Cursor::Before(position) => ("<", sql_integer(position), "DESC"),
        Cursor::After(position) => (">", sql_integer(position), "ASC"),
    };
    let sql = format!(
        "{COLUMNS} WHERE room = ?1 AND position {comparison} ?2 ORDER BY position {order} LIMIT ?3"
    );
    // One row more than asked for says whether there are more.
    let mut messages = connection
        .prepare_cached(&sql)?
        .query_map(
            params![room, position, sql_limit(limit.saturating_add(1))],
            message,
        )?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    if !matches!(cursor, Cursor::After(_)) {
        messages.reverse();
    }
    Ok(Page { messages, more })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        position: unsigned(row, 0)?,
        content: row.get(1)?,
        author: row.get(2)?,
        at: unsigned(row, 3)?,
    })
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
