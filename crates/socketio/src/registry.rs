//! The sockets of one namespace on one node, their rooms, and the pipeline that feeds them from the log.
//!
//! One lock guards it all: what holds it stands *between* two log entries. A join position taken under it is exact:
//! live delivery shows what is above it, replay too (semantics 15).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::adapter::Selection;
use crate::config::Recovery;
use crate::event::{Event, Frames};
use crate::log::{Entry, Room, Target};
use crate::member::{After, Held, Member, Place};
use crate::offset::Offset;
use crate::session::Record;
use crate::sid::Sid;
use crate::socket::Socket;
use crate::window::Window;

/// Bytes handed to a replaying socket at a time; the next go follows when it has been written.
const REPLAY_CHUNK_BYTES: usize = 64 * 1024;
/// Entries looked at under the lock at a time.
const REPLAY_CHUNK_ENTRIES: usize = 4096;

/// Index of a member.
pub(crate) type Slot = usize;

/// How far a replay has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CatchUp {
    /// There is more; come back when the socket has room.
    More,
    /// The socket gets live entries from here on.
    Live,
    /// The window no longer holds what the socket needs.
    Gap,
    /// The socket is gone.
    Gone,
}

pub(crate) struct Registry {
    namespace: Arc<str>,
    epoch: u64,
    members: Slab<Member>,
    by_sid: HashMap<Sid, Slot>,
    rooms: HashMap<Room, HashSet<Slot>>,
    window: Window,
    /// The position processed last.
    last: u64,
    /// Marks members that a selection has seen, so that nobody is chosen twice.
    selections: u64,
    /// Kept between deliveries for its memory.
    chosen: Vec<Slot>,
}

impl Registry {
    pub(crate) fn new(namespace: Arc<str>, window: Window) -> Self {
        Self {
            namespace,
            epoch: 0,
            members: Slab::new(),
            by_sid: HashMap::new(),
            rooms: HashMap::new(),
            window,
            last: 0,
            selections: 0,
            chosen: Vec::new(),
        }
    }

    /// The namespace has joined its cluster: `position` is before the first entry it will be given.
    pub(crate) fn open(&mut self, epoch: u64, position: u64) {
        self.epoch = epoch;
        // A delivery may have come before this call; it knows better.
        self.last = self.last.max(position);
    }

    pub(crate) fn last_position(&self) -> u64 {
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn room_len(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, HashSet::len)
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.window.len_bytes()
    }

    // --- members ---

    /// Adds a socket that has seen everything up to `cursor` and follows from there by [`Registry::catch_up`].
    pub(crate) fn register(&mut self, mut member: Member) -> Slot {
        member.stamp = 0;
        if let Some(cursor) = member.cursor.filter(|cursor| !self.has_gap_after(*cursor)) {
            // What has aged out of the window in between is nothing that this client can lack.
            member.cursor = Some(cursor.max(self.window.dropped_to()));
        }
        let sid = member.socket.id();
        let open: Vec<Room> = member.open_rooms().cloned().collect();
        let slot = self.members.insert(member);
        self.by_sid.insert(sid, slot);
        for room in open {
            self.rooms.entry(room).or_default().insert(slot);
        }
        slot
    }

    /// Removes this very socket; whoever has its id or slot by now stays.
    pub(crate) fn unregister(&mut self, slot: Slot, socket: &Socket) -> Option<Member> {
        self.member(slot, socket)?;
        let member = self.members.remove(slot);
        if self.by_sid.get(&socket.id()) == Some(&slot) {
            self.by_sid.remove(&socket.id());
        }
        for room in member.open_rooms() {
            leave_room(&mut self.rooms, room, slot);
        }
        Some(member)
    }

    fn member(&mut self, slot: Slot, socket: &Socket) -> Option<&mut Member> {
        let member = self.members.get_mut(slot)?;
        std::ptr::eq(Arc::as_ptr(&member.socket), socket).then_some(member)
    }

    pub(crate) fn by_sid(&self, sid: Sid) -> Option<&Arc<Socket>> {
        Some(&self.members[*self.by_sid.get(&sid)?].socket)
    }

    pub(crate) fn sockets(&self) -> Vec<Arc<Socket>> {
        self.members.iter().map(|(_, m)| m.socket.clone()).collect()
    }

    /// The position up to which this socket has been sent everything.
    pub(crate) fn position_of(&mut self, slot: Slot, socket: &Socket) -> u64 {
        let last = self.last;
        self.member(slot, socket)
            .and_then(|m| m.cursor)
            .unwrap_or(last)
    }

    // --- rooms ---

    /// Joins rooms between two log entries; returns the position processed last.
    pub(crate) fn join(&mut self, slot: Slot, socket: &Socket, rooms: &[Room], now_ms: u64) -> u64 {
        let last = self.last;
        let Some(member) = self.member(slot, socket) else {
            return last;
        };
        let joined: Vec<Room> = rooms
            .iter()
            .filter(|room| member.join(room, last, now_ms))
            .cloned()
            .collect();
        for room in joined {
            self.rooms.entry(room).or_default().insert(slot);
        }
        last
    }

    pub(crate) fn leave(&mut self, slot: Slot, socket: &Socket, rooms: &[Room], now_ms: u64) {
        let last = self.last;
        let Some(member) = self.member(slot, socket) else {
            return;
        };
        let left: Vec<Room> = rooms
            .iter()
            .filter(|room| member.leave(room, last, now_ms))
            .cloned()
            .collect();
        for room in left {
            leave_room(&mut self.rooms, &room, slot);
        }
    }

    pub(crate) fn rooms_of(&mut self, slot: Slot, socket: &Socket) -> Vec<Room> {
        self.member(slot, socket)
            .map(|m| m.open_rooms().cloned().collect())
            .unwrap_or_default()
    }

    /// Sends history to a socket that is not live yet; false if it has gone.
    pub(crate) fn send_history(&mut self, slot: Slot, socket: &Socket, frames: &Frames) -> bool {
        let member = self.member(slot, socket);
        member.is_some_and(|member| member.socket.session().send_beyond_bound(frames).is_ok())
    }

    /// What the session store keeps of the member's place in log and rooms.
    pub(crate) fn place_of(&mut self, slot: Slot, socket: &Socket) -> Option<Place> {
        self.member(slot, socket).map(|member| member.place())
    }

    // --- selections ---

    pub(crate) fn selected(&mut self, selection: &Selection) -> Vec<Arc<Socket>> {
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(&selection.target, &selection.except, &mut chosen);
        let sockets = chosen
            .iter()
            .map(|slot| self.members[*slot].socket.clone())
            .collect();
        self.chosen = chosen;
        sockets
    }

    fn select(&mut self, target: &Target, except: &[Room], chosen: &mut Vec<Slot>) {
        chosen.clear();
        match target {
            Target::All => chosen.extend(self.members.iter().map(|(slot, _)| slot)),
            Target::Session(sid) => chosen.extend(self.by_sid.get(sid)),
            Target::Rooms(rooms) => {
                self.selections += 1;
                for room in rooms {
                    select_room(
                        room,
                        &self.rooms,
                        &self.by_sid,
                        (&mut self.members, self.selections),
                        chosen,
                    );
                }
            }
        }
        if !except.is_empty() {
            let is_excepted = |slot: &Slot| {
                except.iter().any(|room| {
                    self.rooms.get(room).is_some_and(|r| r.contains(slot))
                        || Sid::parse(room).is_some_and(|sid| self.by_sid.get(&sid) == Some(slot))
                })
            };
            chosen.retain(|slot| !is_excepted(slot));
        }
    }

    // --- the pipeline ---

    /// Processes the next entry of the log: into the window, and to every live socket that it is for.
    pub(crate) fn deliver(&mut self, entry: &Arc<Entry>) -> After {
        let mut after = After::new();
        if entry.position <= self.last {
            return after;
        }
        self.last = entry.position;
        self.window.push(entry.clone());
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(&entry.envelope.target, &entry.envelope.except, &mut chosen);
        for slot in &chosen {
            let member = &mut self.members[*slot];
            if member.cursor.is_none() {
                member.send_entry(entry, &self.namespace, self.epoch, &mut after);
            }
        }
        self.chosen = chosen;
        if let Target::Session(sid) = entry.envelope.target {
            self.settle(sid, &mut after);
        }
        after
    }

    /// One of this node's own unicast entries has come through the log, or failed: what was held behind it may go.
    pub(crate) fn settle(&mut self, sid: Sid, after: &mut After) {
        let offset = self.offset();
        let member = self
            .by_sid
            .get(&sid)
            .and_then(|slot| self.members.get_mut(*slot));
        if let Some(member) = member {
            member.settle(&self.namespace, offset, after);
        }
    }

    /// A unicast event is about to be appended; what is sent directly waits behind it. False if the socket is gone.
    pub(crate) fn announce(&mut self, slot: Slot, socket: &Socket) -> bool {
        self.member(slot, socket).map(Member::announce).is_some()
    }

    /// Sends past the log, in order with what this socket was sent before. `None` if the socket is gone.
    pub(crate) fn send(&mut self, slot: Slot, socket: &Socket, held: Held) -> Option<After> {
        let offset = self.offset();
        let namespace = self.namespace.clone();
        let mut after = After::new();
        self.member(slot, socket)?
            .send_direct(held, &namespace, offset, &mut after);
        Some(after)
    }

    /// Sends an unlogged event to a selection; volatile: only to who can be written to at once.
    pub(crate) fn broadcast(&mut self, to: &Selection, event: &Event, is_volatile: bool) -> After {
        let offset = self.offset();
        let mut after = After::new();
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(&to.target, &to.except, &mut chosen);
        for slot in &chosen {
            let member = &mut self.members[*slot];
            let can_take = member.is_up_to_date() && member.socket.session().is_writable();
            if can_take || !is_volatile {
                let held = Held::Event {
                    event: event.clone(),
                    id: None,
                };
                member.send_direct(held, &self.namespace, offset, &mut after);
            }
        }
        self.chosen = chosen;
        after
    }

    fn offset(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            position: self.last,
        }
    }

    // --- recovery ---

    /// True if this node no longer holds everything that a client at `position` can lack.
    pub(crate) fn has_gap_after(&self, position: u64) -> bool {
        self.window.has_gap_after(position, Instant::now())
    }

    /// True if a recovery from `position` would replay more than the caps allow.
    pub(crate) fn missed_too_much(&self, record: &Record, position: u64, caps: &Recovery) -> bool {
        let (mut events, mut bytes) = (0, 0);
        self.window.after(position).any(|entry| {
            if crate::member::is_entitled(entry, record.sid, record.start, &record.intervals) {
                events += 1;
                bytes += entry.envelope.event.len_bytes();
            }
            events > caps.max_replay_events || bytes > caps.max_replay_bytes
        })
    }

    /// Moves a replaying socket along the window, one chunk at a time; at its end the socket is live.
    pub(crate) fn catch_up(&mut self, slot: Slot, socket: &Socket, after: &mut After) -> CatchUp {
        let offset = self.offset();
        let member = self.members.get_mut(slot);
        let Some(member) = member.filter(|m| std::ptr::eq(Arc::as_ptr(&m.socket), socket)) else {
            return CatchUp::Gone;
        };
        let Some(cursor) = member.cursor else {
            return CatchUp::Live;
        };
        if self.window.dropped_to() > cursor {
            return CatchUp::Gap;
        }
        let mut bytes = 0;
        for (seen, entry) in self.window.after(cursor).enumerate() {
            if bytes >= REPLAY_CHUNK_BYTES || seen >= REPLAY_CHUNK_ENTRIES {
                return CatchUp::More;
            }
            bytes += member.replay_entry(entry, &self.namespace, self.epoch);
            member.cursor = Some(entry.position);
        }
        member.cursor = None;
        member.release_held(&self.namespace, offset, after);
        CatchUp::Live
    }
}

fn select_room(
    room: &Room,
    rooms: &HashMap<Room, HashSet<Slot>>,
    by_sid: &HashMap<Sid, Slot>,
    (members, selection): (&mut Slab<Member>, u64),
    chosen: &mut Vec<Slot>,
) {
    let own = Sid::parse(room).and_then(|sid| by_sid.get(&sid));
    let in_room = rooms.get(room).into_iter().flatten();
    for slot in in_room.chain(own) {
        let member = &mut members[*slot];
        if member.stamp != selection {
            member.stamp = selection;
            chosen.push(*slot);
        }
    }
}

fn leave_room(rooms: &mut HashMap<Room, HashSet<Slot>>, room: &Room, slot: Slot) {
    if let Some(members) = rooms.get_mut(room) {
        members.remove(&slot);
        if members.is_empty() {
            rooms.remove(room);
        }
    }
}
