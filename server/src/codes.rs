//! The numbered refusals of `docs/protocol.md`: a closed set, each saying whether to try again.
//!
//! A [`Refusal`] is what a client reads, in an acknowledgement or as the data of a
//! `connect_error`. It never carries internals.

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A reason to refuse an event or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Code {
    /// The queue of the message store is full.
    StoreBusy = 100,
    /// The message store could not commit.
    StoreFailed = 101,
    /// The socket sent too many events.
    TooManyEvents = 102,
    /// The server is about to end.
    Draining = 103,
    /// The server has not read the cluster's log yet.
    Starting = 104,
    /// The log did not answer in time.
    StoreUnanswered = 105,
    /// Arguments of the wrong number or type.
    WrongShape = 200,
    /// Content empty or too long.
    ContentLength = 201,
    /// `clientOffset` empty or too long.
    ClientOffset = 202,
    /// Room name not allowed.
    RoomName = 203,
    /// An event for a room that was not joined.
    NotInRoom = 204,
    /// One room more than allowed.
    TooManyRooms = 205,
    /// A page request outside its limits.
    HistoryRequest = 206,
    /// No token, though one is needed.
    TokenRequired = 300,
    /// A token that proves nothing.
    TokenInvalid = 301,
    /// A token whose time is over.
    TokenExpired = 302,
    /// A name that is not allowed.
    Name = 303,
    /// A position that is none.
    ServerOffset = 304,
    /// The server is full.
    TooManyConnections = 400,
    /// The address has its share.
    TooManyFromAddress = 401,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 20] = [
        Self::StoreBusy,
        Self::StoreFailed,
        Self::TooManyEvents,
        Self::Draining,
        Self::Starting,
        Self::StoreUnanswered,
        Self::WrongShape,
        Self::ContentLength,
        Self::ClientOffset,
        Self::RoomName,
        Self::NotInRoom,
        Self::TooManyRooms,
        Self::HistoryRequest,
        Self::TokenRequired,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::Name,
        Self::ServerOffset,
        Self::TooManyConnections,
        Self::TooManyFromAddress,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether the same request may succeed later.
    pub const fn retry(self) -> bool {
        matches!(self.number(), 100..=199 | 400..=499)
    }

    /// The sentence on the wire.
    pub const fn message(self) -> &'static str {
        match self {
            Self::StoreBusy => "the message store is busy; nothing was stored",
            Self::StoreFailed => "the message store failed; nothing was stored",
            Self::TooManyEvents => "too many events per second from this socket",
            Self::Draining => "the server is draining",
            Self::Starting => "the server is starting",
            Self::StoreUnanswered => "the message store did not answer; the message may be stored",
            Self::WrongShape => "the arguments do not have the event's shape",
            Self::ContentLength => "content is empty or longer than the limit",
            Self::ClientOffset => "clientOffset is empty or longer than 128 characters",
            Self::RoomName => "room name empty, too long, or with control characters",
            Self::NotInRoom => "not in that room",
            Self::TooManyRooms => "too many rooms for one socket",
            Self::HistoryRequest => "a history request outside its limits",
            Self::TokenRequired => "a token is required",
            Self::TokenInvalid => "the token is not valid",
            Self::TokenExpired => "the token has expired",
            Self::Name => "name is not allowed",
            Self::ServerOffset => "serverOffset is not an integer >= 0",
            Self::TooManyConnections => "too many connections in all",
            Self::TooManyFromAddress => "too many connections from this address",
        }
    }

    /// The HTTP status when a handshake is refused with this code.
    pub const fn http_status(self) -> http::StatusCode {
        match self {
            Self::TooManyFromAddress => http::StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyConnections | Self::Draining | Self::Starting => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
            _ => http::StatusCode::FORBIDDEN,
        }
    }
}

/// A code, and the field it is about if there is one: `{code, message, field?, retry}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({})", self.code.message(), self.code.number())]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The argument or key that is wrong.
    pub field: Option<&'static str>,
}

impl Refusal {
    /// A refusal about one argument or key.
    pub const fn of(code: Code, field: &'static str) -> Self {
        Self {
            code,
            field: Some(field),
        }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, field: None }
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut refusal = serializer.serialize_struct("Refusal", 4)?;
        refusal.serialize_field("code", &self.code.number())?;
        refusal.serialize_field("message", self.code.message())?;
        match self.field {
            Some(field) => refusal.serialize_field("field", field)?,
            None => refusal.skip_field("field")?,
        }
        refusal.serialize_field("retry", &self.code.retry())?;
        refusal.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table under "Refusals": code, retry, meaning without marks and without what is in brackets.
    fn documented() -> Vec<(u16, bool, String)> {
        let text = include_str!("../../docs/protocol.md");
        let table = text.split("## Refusals").nth(1).unwrap();
        table
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                let [code, retry, meaning] = cells[..] else {
                    return None;
                };
                let meaning = meaning.split(" (").next().unwrap().replace('`', "");
                Some((code.parse().ok()?, retry == "yes", meaning))
            })
            .collect()
    }

    #[test]
    fn the_codes_are_those_of_the_protocol() {
        let coded: Vec<_> = Code::ALL
            .iter()
            .map(|code| (code.number(), code.retry(), code.message().to_owned()))
            .collect();
        assert_eq!(coded, documented());
    }

    #[test]
    fn a_refusal_has_the_documented_keys() {
        let refusal = serde_json::to_value(Refusal::of(Code::Name, "name")).unwrap();
        assert_eq!(
            refusal,
            serde_json::json!({"code": 303, "message": "name is not allowed", "field": "name", "retry": false})
        );
        let refusal = serde_json::to_string(&Refusal::from(Code::Draining)).unwrap();
        assert_eq!(
            refusal,
            r#"{"code":103,"message":"the server is draining","retry":true}"#
        );
    }
}
