//! The names of the chat's events; their meaning is in `docs/protocol.md`.

/// A message of the lobby, both ways.
pub const CHAT_MESSAGE: &str = "chat message";
/// A message of a named room, both ways.
pub const ROOM_MESSAGE: &str = "room:message";
/// A client joins a room.
pub const ROOM_JOIN: &str = "room:join";
/// A client leaves a room.
pub const ROOM_LEAVE: &str = "room:leave";
/// A client asks for a page of history.
pub const HISTORY: &str = "history";
/// More was missed than is replayed.
pub const HISTORY_GAP: &str = "history gap";
/// Somebody is typing, both ways.
pub const TYPING: &str = "typing";
/// A client asks who is there.
pub const WHO: &str = "who";
/// What a connection is told about itself.
pub const SESSION: &str = "session";
/// Somebody came.
pub const JOINED: &str = "joined";
/// Somebody went.
pub const LEFT: &str = "left";

/// What this server says itself: clients rely on what it means.
pub(super) const FROM_SERVER: [&str; 7] = [
    CHAT_MESSAGE,
    ROOM_MESSAGE,
    HISTORY_GAP,
    TYPING,
    SESSION,
    JOINED,
    LEFT,
];
