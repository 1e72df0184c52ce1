//! Reading back: one page of history for one acknowledgement.

use chatcluster_socketio::{AckSender, Arguments, SocketRef, State};
use serde_json::{Value, json};

use super::rooms::{Name, joined_or_lobby};
use super::visitor::Guest;
use super::{Chat, events};
use crate::codes::{Code, Refusal};
use crate::history::{Cursor, Page};

const DEFAULT_LIMIT: u64 = 50;
const MAX_LIMIT: u64 = 100;

struct Wanted {
    room: Option<Name>,
    cursor: Cursor,
    limit: usize,
}

pub(super) async fn on_history(
    s: SocketRef,
    State(chat): State<Chat>,
    guest: Guest,
    arguments: Arguments,
    ack: AckSender,
) {
    let page = chat.page(&s, &guest, &arguments).await;
    chat.reply(
        &guest.0,
        ack,
        page.map(|page| json!({ "messages": page.messages, "more": page.more })),
    );
}

impl Chat {
    async fn page(
        &self,
        s: &SocketRef,
        guest: &Guest,
        arguments: &Arguments,
    ) -> Result<Page, Refusal> {
        self.pace(&guest.0, events::HISTORY)?;
        let wanted = Wanted::parse(s, arguments.values().first())?;
        let room = wanted.room.as_ref().map_or("", Name::as_str);
        // What this client has not been sent yet will come live: a page that held it too would show it twice. Of a room only
        // what follows the join comes live, also to a client that is still being sent what it missed.
        let joined = wanted.room.as_ref();
        let joined = joined.and_then(|room| s.joined_at(&room.socket_room()));
        let delivered = s.position().max(joined.unwrap_or(0));
        let cursor = match wanted.cursor {
            Cursor::Newest => Cursor::Before(delivered + 1),
            Cursor::Before(position) => Cursor::Before(position.min(delivered + 1)),
            after @ Cursor::After(_) => after,
        };
        let read = self.0.history.page(room, cursor, wanted.limit).await;
        let mut page = read.map_err(|error| {
            tracing::warn!(%error, "read a page of history");
            Refusal::from(Code::StoreFailed)
        })?;
        page.messages
            .retain(|message| message.position <= delivered);
        Ok(page)
    }
}

impl Wanted {
    fn parse(s: &SocketRef, value: Option<&Value>) -> Result<Self, Refusal> {
        let empty = json!({});
        let wanted = value.filter(|v| !v.is_null()).unwrap_or(&empty);
        if !wanted.is_object() {
            return Err(Code::WrongShape.into());
        }
        let number = |field: &'static str| match wanted.get(field).filter(|v| !v.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number < 1 << 53 => Ok(Some(number)),
                _ => Err(Refusal::of(Code::HistoryRequest, field)),
            },
        };
        let cursor = match (number("before")?, number("after")?) {
            (Some(_), Some(_)) => return Err(Refusal::of(Code::HistoryRequest, "after")),
            (Some(before), None) => Cursor::Before(before),
            (None, Some(after)) => Cursor::After(after),
            (None, None) => Cursor::Newest,
        };
        let limit = number("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Refusal::of(Code::HistoryRequest, "limit"));
        }
        Ok(Self {
            room: joined_or_lobby(s, wanted.get("room"))?,
            cursor,
            limit: usize::try_from(limit).unwrap_or(1),
        })
    }
}
