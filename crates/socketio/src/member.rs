//! One socket's place in the pipeline: its stays in rooms, its cursor while it replays, and what waits behind the log.

use std::sync::Arc;

use chatcluster_engineio::SendError;

use crate::event::{Event, Frames};
use crate::log::{Entry, Room, Target};
use crate::offset::Offset;
use crate::session::{Interval, MAX_LEFT_INTERVALS};
use crate::sid::Sid;
use crate::socket::Socket;

/// Something sent past the log that waits until the socket's own earlier emits have come through it.
pub(crate) enum Held {
    /// An unlogged event; gets its offset when it leaves.
    Event { event: Event, id: Option<u64> },
    /// An acknowledgement or another packet without offset.
    Packet(Frames),
    /// The namespace disconnect, and with `true` the whole connection's.
    Disconnect { packet: Frames, close: bool },
}

impl Held {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Event { event, .. } => event.len_bytes(),
            Self::Packet(frames) | Self::Disconnect { packet: frames, .. } => len_bytes(frames),
        }
    }
}

pub(crate) struct Member {
    pub(crate) socket: Arc<Socket>,
    /// The position processed last when the session began: it is entitled to what is above.
    pub(crate) start: u64,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) gap_below: u64,
    /// Selection that saw this member last.
    pub(crate) stamp: u64,
    /// The position sent last while the socket replays; `None` once it is live.
    pub(crate) cursor: Option<u64>,
    /// Own unicast events given to the log so far, and how many of them have come through it.
    announced: u64,
    settled: u64,
    /// In order; bounded by the send queue's bound.
    held: Option<Box<HeldQueue>>,
}

/// Where a session stands in the log and which rooms it was in.
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) gap_below: u64,
}

#[derive(Default)]
struct HeldQueue {
    /// Each with the number of own unicast events that go before it.
    items: std::collections::VecDeque<(u64, Held)>,
    bytes: usize,
}

impl Member {
    pub(crate) fn new(socket: Arc<Socket>, start: u64, cursor: u64, gap_below: u64) -> Self {
        Self {
            socket,
            start,
            intervals: Vec::new(),
            gap_below,
            stamp: 0,
            cursor: Some(cursor),
            announced: 0,
            settled: 0,
            held: None,
        }
    }

    /// What the session record keeps of it.
    pub(crate) fn place(&self) -> Place {
        Place {
            start: self.start,
            intervals: self.intervals.clone(),
            gap_below: self.gap_below,
        }
    }

    // --- rooms ---

    pub(crate) fn open_rooms(&self) -> impl Iterator<Item = &Room> {
        self.intervals
            .iter()
            .filter(|i| i.left.is_none())
            .map(|i| &i.room)
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
        if self.cursor.is_some() {
            // A replay may still have to show what it was entitled to then.
            return;
        }
        let keep_ms = u64::try_from(self.socket.left_rooms_kept().as_millis()).unwrap_or(u64::MAX);
        self.intervals.retain(|i| {
            i.left_at
                .is_none_or(|at| now_ms.saturating_sub(at) <= keep_ms)
        });
        while self.intervals.iter().filter(|i| i.left.is_some()).count() > MAX_LEFT_INTERVALS {
            let Some(oldest) = self.intervals.iter().position(|i| i.left.is_some()) else {
                return;
            };
            let forgotten = self.intervals.remove(oldest);
            self.gap_below = self.gap_below.max(forgotten.left.unwrap_or(0));
        }
    }

    // --- sending ---

    pub(crate) fn send_entry(&self, entry: &Entry, namespace: &str, epoch: u64, after: &mut After) {
        self.send_frames(self.frames_of(entry, namespace, epoch), after);
    }

    /// Replays past the send bound: the caller paces it. Returns the bytes queued.
    pub(crate) fn replay_entry(&self, entry: &Entry, namespace: &str, epoch: u64) -> usize {
        if !is_entitled(entry, self.socket.id(), self.start, &self.intervals) {
            return 0;
        }
        let frames = self.frames_of(entry, namespace, epoch);
        // A closed connection is noticed by its own clean-up.
        let _closed = self.socket.session().send_beyond_bound(frames);
        len_bytes(frames)
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
        if self.socket.is_overflowed() {
            return;
        }
        if self.socket.session().send(frames) == Err(SendError::Full) {
            self.socket.mark_overflowed();
            after.push((self.socket.clone(), Ending::Overflow));
        }
    }

    /// A unicast event of this socket goes into the log.
    pub(crate) fn announce(&mut self) {
        self.announced += 1;
    }

    /// A unicast event of this socket has come through the log, or failed: what waited behind it may go.
    pub(crate) fn settle(&mut self, namespace: &str, offset: Offset, after: &mut After) {
        // Those of an earlier connection of the session come through here too, but were announced there.
        self.settled = self.announced.min(self.settled + 1);
        self.release_held(namespace, offset, after);
    }

    /// True if it could be sent to now: nothing is to be sent before.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.cursor.is_none() && self.settled == self.announced
    }

    /// Sends at once, or holds it behind the socket's own emits that are still on their way through the log.
    pub(crate) fn send_direct(
        &mut self,
        held: Held,
        namespace: &str,
        offset: Offset,
        after: &mut After,
    ) {
        if self.held.is_none() && self.may_go(self.announced, &held) {
            return self.send_now(held, namespace, offset, after);
        }
        let queue = self.held.get_or_insert_default();
        queue.bytes += held.len_bytes();
        queue.items.push_back((self.announced, held));
        if queue.bytes > self.socket.max_send_queue() && !self.socket.is_overflowed() {
            self.socket.mark_overflowed();
            after.push((self.socket.clone(), Ending::Overflow));
        }
    }

    fn may_go(&self, behind: u64, held: &Held) -> bool {
        // What carries an offset also waits for the end of a replay: its offset would skip what is still to be replayed.
        let waits_for_replay =
            self.cursor.is_some() && matches!(held, Held::Event { id: None, .. });
        self.settled >= behind && !waits_for_replay
    }

    /// Sends what was held, as far as nothing holds it any more.
    pub(crate) fn release_held(&mut self, namespace: &str, offset: Offset, after: &mut After) {
        while let Some(queue) = &mut self.held {
            let Some((behind, held)) = queue.items.pop_front() else {
                self.held = None;
                return;
            };
            queue.bytes = queue.bytes.saturating_sub(held.len_bytes());
            if self.may_go(behind, &held) {
                let is_last = matches!(held, Held::Disconnect { .. });
                self.send_now(held, namespace, offset, after);
                if is_last {
                    self.held = None;
                }
            } else if let Some(queue) = &mut self.held {
                queue.bytes += held.len_bytes();
                queue.items.push_front((behind, held));
                return;
            }
        }
    }

    fn send_now(&self, held: Held, namespace: &str, offset: Offset, after: &mut After) {
        match held {
            Held::Event { event, id } => {
                let text = (id.is_none() && self.socket.has_offsets()).then(|| offset.to_string());
                let frames = event.frames(namespace, id, offset.position, text.as_deref());
                self.send_frames(&frames, after);
            }
            Held::Packet(frames) => self.send_frames(&frames, after),
            Held::Disconnect { packet, close } => {
                self.send_frames(&packet, after);
                after.push((self.socket.clone(), Ending::Disconnect { close }));
            }
        }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its send queue is full.
    Overflow,
    /// The server disconnects it from the namespace, and with `close` from everything.
    Disconnect { close: bool },
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
    let is_target = match &entry.envelope.target {
        Target::All => true,
        Target::Session(to) => *to == sid,
        Target::Rooms(rooms) => rooms.iter().any(was_in),
    };
    is_target && !entry.envelope.except.iter().any(was_in)
}
