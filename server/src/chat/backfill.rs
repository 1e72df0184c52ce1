//! What a client that could not be recovered missed in the lobby: sent in order, at its pace, before anything live.

use chatcluster_socketio::{Backfill, EmitError, Event};
use serde_json::json;

use super::messages::message_event;
use super::visitor::Visitor;
use super::{Chat, events};
use crate::history::{Message, ReadError};

/// The lobby's name in the history.
const LOBBY: &str = "";
/// Rows read and sent at a time.
const CHUNK: usize = 200;

/// Why a client was not sent all of it. It comes back and says where it stands.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read the history")]
    Read(#[from] ReadError),
    #[error("send the history")]
    Send(#[from] EmitError),
}

impl Chat {
    /// Sends what the client says it lacks; the connection ends where that fails, so that nothing is skipped silently.
    pub(super) async fn backfill(self, backfill: Backfill) {
        let visitor = backfill.socket().extension::<Visitor>();
        let from = visitor.map_or(0, |visitor| visitor.claim.server_offset);
        if let Err(error) = self.send_missed(&backfill, from).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::info!(socket.id = %backfill.socket().id(), %error, cause, "a client was not sent all that it missed");
            backfill.socket().close_transport();
        }
    }

    async fn send_missed(&self, backfill: &Backfill, from: u64) -> Result<(), Error> {
        if from == 0 {
            return self.send_newest(backfill).await;
        }
        let most = self.settings().history.replay_limit;
        let missed = self.0.history.count_after(LOBBY, from, most + 1).await?;
        if missed > most {
            return self.send_gap(backfill, from).await;
        }
        let mut after = from;
        loop {
            let rows = self.0.history.after(LOBBY, after, CHUNK).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.position;
            send(backfill, &rows).await?;
            if rows.len() < CHUNK || after >= backfill.until() {
                return Ok(());
            }
        }
    }

    async fn send_newest(&self, backfill: &Backfill) -> Result<(), Error> {
        let rows = self.newest().await?;
        Ok(send(backfill, &rows).await?)
    }

    async fn newest(&self) -> Result<Vec<Message>, Error> {
        let count = self.settings().history.replay_newest;
        Ok(self.0.history.newest(LOBBY, count).await?)
    }

    async fn send_gap(&self, backfill: &Backfill, from: u64) -> Result<(), Error> {
        let rows = self.newest().await?;
        // Exclusive: without a row the gap reaches beyond the last message.
        let before = rows
            .first()
            .map_or(backfill.until() + 1, |row| row.position);
        let gap = Event::new(
            events::HISTORY_GAP,
            &json!({ "after": from, "before": before }),
        )?;
        backfill.send(&gap, from).await?;
        Ok(send(backfill, &rows).await?)
    }
}

async fn send(backfill: &Backfill, rows: &[Message]) -> Result<(), EmitError> {
    // What is above will come through the log.
    for row in rows.iter().filter(|row| row.position <= backfill.until()) {
        let event = message_event(None, &row.content, &row.author, row.at);
        if let Ok(event) = event {
            backfill.send(&event, row.position).await?;
        }
    }
    Ok(())
}
