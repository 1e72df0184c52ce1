//! One socket's place in the pipeline: its stays in rooms, its cursor while it replays, and what waits behind the log.

mod held;

use std::sync::Arc;

use chatcluster_engineio::SendError;

use crate::event::Frames;
use crate::log::{Entry, Room, Target};
use crate::offset::Offset;
use crate::registry::Older;
use crate::session::{Interval, MAX_LEFT_INTERVALS, Quiet, Record};
use crate::sid::Sid;
use crate::socket::Socket;

pub(crate) use held::Held;
use held::HeldQueue;

pub(crate) struct Member {
    pub(crate) socket: Arc<Socket>,
    /// In which all positions here are.
    pub(crate) epoch: u64,
    /// The position processed last when the session began: it is entitled to what is above.
    pub(crate) start: u64,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) gap_below: u64,
    /// Of the session's record.
    pub(crate) quiet: Quiet,
    /// No event that carries an offset has been sent to this connection, nor to the session's earlier ones.
    pub(crate) is_untouched: bool,
    /// Selection that saw this member last.
    pub(crate) stamp: u64,
    /// The position sent last while the socket replays; `None` once it is live.
    pub(crate) cursor: Option<u64>,
    /// What it missed that came out of the log itself; the window comes after that.
    pub(crate) older: Option<Box<Older>>,
    /// It is being sent history; the replay comes after that.
    pub(crate) is_backfilling: bool,
    /// Its log has a hole or has ended, and its connection is about to: an offset behind the hole would say that its client has
    /// seen what lies before.
    pub(crate) is_over: bool,
    /// Own unicast events that the log has taken so far, and how many of them have been sent.
    announced: u64,
    settled: u64,
    /// In order; bounded by the send queue's bound.
    held: Option<Box<HeldQueue>>,
}

/// Where a session stands in the log and which rooms it was in.
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) start: u64,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) gap_below: u64,
    pub(crate) quiet: Quiet,
    pub(crate) is_caught_up: bool,
    pub(crate) is_untouched: bool,
}

impl Member {
    /// Of the session with this record, whose client has everything up to `cursor`.
    pub(crate) fn new(socket: Arc<Socket>, record: &Record, cursor: u64) -> Self {
        Self {
            socket,
            epoch: record.epoch,
            start: record.start,
            intervals: record.intervals.clone(),
            gap_below: record.gap_below,
            quiet: record.quiet,
            is_untouched: true,
            stamp: 0,
            cursor: Some(cursor),
            older: None,
            is_backfilling: false,
            is_over: false,
            announced: 0,
            settled: 0,
            held: None,
        }
    }

    /// What the session record keeps of it.
    pub(crate) fn place(&self) -> Place {
        Place {
            epoch: self.epoch,
            start: self.start,
            intervals: self.intervals.clone(),
            gap_below: self.gap_below,
            quiet: self.quiet,
            is_caught_up: self.cursor.is_none(),
            is_untouched: self.is_untouched,
        }
    }

    // --- rooms ---

    pub(crate) fn open_rooms(&self) -> impl Iterator<Item = &Room> {
        self.intervals
            .iter()
            .filter(|i| i.left.is_none())
            .map(|i| &i.room)
    }

    pub(crate) fn joined_at(&self, room: &str) -> Option<u64> {
        let mut stays = self.intervals.iter().filter(|i| i.left.is_none());
        stays.find(|i| &*i.room == room).map(|i| i.joined)
    }

    /// True if the socket was not in the room before.
    pub(crate) fn join(&mut self, room: &Room, last: u64, now_ms: u64) -> bool {
        self.forget_left(now_ms);
        if self.open_rooms().any(|r| r == room) {
            return false;
        }
        self.intervals.push(Interval {
            room: room.clone(),
            joined: last,
            left: None,
            left_at: None,
        });
        true
    }

    /// True if the socket was in the room.
    pub(crate) fn leave(&mut self, room: &Room, last: u64, now_ms: u64) -> bool {
        let stay = self
            .intervals
            .iter_mut()
            .find(|i| i.left.is_none() && i.room == *room);
        let Some(stay) = stay else {
            return false;
        };
        stay.left = Some(last);
        stay.left_at = Some(now_ms);
        self.forget_left(now_ms);
        true
    }

    /// A left room matters only until every event of the stay has surely arrived (semantics 16).
    fn forget_left(&mut self, now_ms: u64) {
        // A replay may still have to show what it was entitled to then.
        if self.cursor.is_none() {
            let keep = self.socket.left_rooms_kept().as_millis();
            let keep_ms = u64::try_from(keep).unwrap_or(u64::MAX);
            let is_fresh = |at: u64| now_ms.saturating_sub(at) <= keep_ms;
            self.intervals.retain(|i| i.left_at.is_none_or(is_fresh));
        }
        while self.intervals.iter().filter(|i| i.left.is_some()).count() > MAX_LEFT_INTERVALS {
            let Some(oldest) = self.intervals.iter().position(|i| i.left.is_some()) else {
                return;
            };
            let forgotten = self.intervals.remove(oldest);
            self.gap_below = self.gap_below.max(forgotten.left.unwrap_or(0));
        }
    }

    // --- the replay ---

    /// The replay has reached the end of the log: the socket is live from here on.
    fn end_replay(&mut self, now_ms: u64) {
        self.cursor = None;
        // Only now has the end of each stay been sent: it is forgotten a ping cycle after that, not after the leave.
        for stay in self.intervals.iter_mut().filter(|i| i.left.is_some()) {
            stay.left_at = Some(now_ms);
        }
    }

    /// Goes live, and sends what was held until now.
    pub(crate) fn go_live(
        &mut self,
        namespace: &str,
        offset: Offset,
        now_ms: u64,
        after: &mut After,
    ) {
        self.end_replay(now_ms);
        self.release_held(namespace, offset, after);
    }

    /// Replays one entry past the send bound, and what waited for it: the caller paces. Returns the bytes queued.
    pub(crate) fn replay_entry(
        &mut self,
        entry: &Entry,
        namespace: &str,
        epoch: u64,
        after: &mut After,
    ) -> usize {
        let mut bytes = 0;
        if is_entitled(entry, self.socket.id(), self.start, &self.intervals) {
            self.is_untouched = false;
            let frames = self.frames_of(entry, namespace, epoch);
            // A closed connection is noticed by its own clean-up.
            let _closed = self.socket.session().send_beyond_bound(frames);
            bytes = len_bytes(frames);
        }
        let position = entry.position;
        self.cursor = Some(position);
        if self.is_own(entry) {
            self.settled += 1;
        }
        self.release_held(namespace, Offset { epoch, position }, after);
        bytes
    }

    // --- sending ---

    pub(crate) fn send_entry(
        &mut self,
        entry: &Entry,
        namespace: &str,
        epoch: u64,
        after: &mut After,
    ) {
        self.is_untouched = false;
        self.send_frames(self.frames_of(entry, namespace, epoch), after);
    }

    /// An unlogged event, to a member that is up to date.
    pub(crate) fn send_unlogged(&mut self, frames: &Frames, after: &mut After) {
        self.is_untouched = false;
        self.send_frames(frames, after);
    }

    /// History, which paces itself; false if the connection has ended.
    pub(crate) fn send_history(&mut self, frames: &Frames) -> bool {
        self.is_untouched = false;
        !self.is_over && self.socket.session().send_beyond_bound(frames).is_ok()
    }

    fn frames_of<'a>(&self, entry: &'a Entry, namespace: &str, epoch: u64) -> &'a Frames {
        if self.socket.has_offsets() {
            entry.frames_with_offset(namespace, epoch)
        } else {
            entry.frames_without_offset(namespace)
        }
    }

    pub(crate) fn send_frames(&self, frames: &Frames, after: &mut After) {
        // Once something was refused nothing may follow it: its offset would skip what the client did not get.
        if self.is_over || self.socket.is_overflowed() {
            return;
        }
        if self.socket.session().send(frames) == Err(SendError::Full) {
            self.socket.mark_overflowed();
            after.push((self.socket.clone(), Ending::Overflow));
        }
    }

    /// True if this very connection announced the entry, not an earlier one of the same session.
    fn is_own(&self, entry: &Entry) -> bool {
        entry.envelope().announced_by == Some(self.socket.connection())
    }

    /// An entry was sent, live: what waited behind it may go if it is an own unicast event.
    pub(crate) fn settle(
        &mut self,
        entry: &Entry,
        namespace: &str,
        offset: Offset,
        after: &mut After,
    ) {
        if self.is_own(entry) {
            self.settled += 1;
            self.release_held(namespace, offset, after);
        }
    }

    /// True if it could be sent to now: nothing is to be sent before.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.cursor.is_none() && self.settled == self.announced && self.held.is_none()
    }
}

fn len_bytes(frames: &Frames) -> usize {
    frames
        .iter()
        .map(chatcluster_engineio::Frame::len_bytes)
        .sum()
}

/// What has to be done with sockets once the registry's lock is given back: closing a connection comes back into it.
pub(crate) type After = Vec<(Arc<Socket>, Ending)>;

/// How a socket ends.
pub(crate) enum Ending {
    /// Its send queue is full.
    Overflow,
    /// The server disconnects it from the namespace, and with `close` from everything; the packet tells it so.
    Disconnect { packet: Frames, close: bool },
}

/// Whether a session may see an entry: judged by where it was when the entry was logged.
pub(crate) fn is_entitled(entry: &Entry, sid: Sid, start: u64, intervals: &[Interval]) -> bool {
    if entry.position <= start {
        return false;
    }
    let was_in = |room: &Room| {
        Sid::parse(room) == Some(sid)
            || intervals
                .iter()
                .any(|i| i.room == *room && i.covers(entry.position))
    };
    let envelope = entry.envelope();
    let is_target = match &envelope.target {
        Target::All => true,
        Target::Session(to) => *to == sid,
        Target::Rooms(rooms) => rooms.iter().any(was_in),
    };
    is_target && !envelope.except.iter().any(was_in)
}
