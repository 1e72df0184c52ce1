//! The sockets of one namespace on one node, their rooms, and the pipeline that feeds them from the log.
//!
//! One lock guards it all: what holds it stands *between* two log entries. A join position taken under it is exact:
//! live delivery shows what is above it, replay too (semantics 15).

mod replay;
mod shared;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use crate::adapter::Selection;
use crate::event::{Event, Frames};
use crate::log::{ConnectionId, Entry, Room, Target};
use crate::member::{After, Held, Member, Place};
use crate::offset::Offset;
use crate::recovery::Arrivals;
use crate::sid::Sid;
use crate::socket::Socket;
use crate::window::Window;

use shared::Shared;

pub(crate) use replay::{CatchUp, Missed, Older, Placed};

/// Index of a member.
pub(crate) type Slot = usize;

/// Nobody outside chooses a slot: its hash needs no secret, and without one a room is always gone through in the same order.
type Slots = HashSet<Slot, BuildHasherDefault<DefaultHasher>>;

pub(crate) struct Registry {
    namespace: Arc<str>,
    epoch: u64,
    members: Slab<Member>,
    by_sid: HashMap<Sid, Slot>,
    /// Of those that are not members yet.
    pub(crate) arrivals: Arrivals,
    rooms: HashMap<Room, Slots>,
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
            arrivals: Arrivals::default(),
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
        self.window.begin(position, Instant::now());
    }

    pub(crate) fn last_position(&self) -> u64 {
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn room_len(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, Slots::len)
    }

    /// Keeps no more of the log than a connection needs on its way in.
    pub(crate) fn narrow_window(&mut self, max_bytes: usize, span: Duration) {
        self.window.narrow(max_bytes, span);
    }

    pub(crate) fn window_bytes(&self) -> usize {
        self.window.len_bytes()
    }

    // --- members ---

    /// Adds a socket that has seen everything up to `cursor` and follows from there by [`Registry::catch_up`].
    pub(crate) fn register(&mut self, mut member: Member) -> Slot {
        member.stamp = 0;
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
        if !joined.is_empty() {
            socket.note_change();
        }
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
        if !left.is_empty() {
            socket.note_change();
        }
        for room in left {
            leave_room(&mut self.rooms, &room, slot);
        }
    }

    /// The position at which a socket joined a room that it is in.
    pub(crate) fn joined_at(&mut self, slot: Slot, socket: &Socket, room: &str) -> Option<u64> {
        self.member(slot, socket)?.joined_at(room)
    }

    pub(crate) fn rooms_of(&mut self, slot: Slot, socket: &Socket) -> Vec<Room> {
        self.member(slot, socket)
            .map(|m| m.open_rooms().cloned().collect())
            .unwrap_or_default()
    }

    /// Sends history to a socket that is not live yet; false if it has gone.
    pub(crate) fn send_history(&mut self, slot: Slot, socket: &Socket, frames: &Frames) -> bool {
        self.member(slot, socket)
            .is_some_and(|member| member.send_history(frames))
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
        if self.members.is_empty() {
            // Nor is it read, if it has not been.
            return after;
        }
        let offset = self.offset();
        let mut chosen = std::mem::take(&mut self.chosen);
        let envelope = entry.envelope();
        self.select(&envelope.target, &envelope.except, &mut chosen);
        for slot in &chosen {
            let member = &mut self.members[*slot];
            if member.cursor.is_none() {
                member.send_entry(entry, &self.namespace, self.epoch, &mut after);
                member.settle(entry, &self.namespace, offset, &mut after);
            }
        }
        self.chosen = chosen;
        after
    }

    /// Nothing more comes for this namespace up to `position`.
    pub(crate) fn advance(&mut self, position: u64) {
        self.last = self.last.max(position);
    }

    /// A unicast event is about to be appended; what is sent directly waits behind it. Its number, unless the socket is
    /// gone.
    pub(crate) fn announce(&mut self, slot: Slot, socket: &Socket) -> Option<u64> {
        self.member(slot, socket).map(Member::announce)
    }

    /// The log did not take the unicast event of this number.
    pub(crate) fn retract(&mut self, sid: Sid, connection: ConnectionId, number: u64) -> After {
        let offset = self.offset();
        let mut after = After::new();
        let member = self
            .by_sid
            .get(&sid)
            .and_then(|slot| self.members.get_mut(*slot))
            .filter(|member| member.socket.connection() == connection);
        if let Some(member) = member {
            member.retract(number, &self.namespace, offset, &mut after);
        }
        after
    }

    /// Answers CONNECT: the first thing that a socket is sent. Nothing if it has gone.
    pub(crate) fn greet(&mut self, slot: Slot, socket: &Socket, answer: &Frames) -> After {
        let mut after = After::new();
        if let Some(member) = self.member(slot, socket) {
            member.send_frames(answer, &mut after);
        }
        after
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
        let frames = Shared::default();
        for slot in &chosen {
            let member = &mut self.members[*slot];
            if !member.is_up_to_date() {
                if !is_volatile {
                    let held = Held::Event {
                        event: event.clone(),
                        id: None,
                    };
                    member.send_direct(held, &self.namespace, offset, &mut after);
                }
            } else if !is_volatile || member.socket.session().is_writable() {
                let frames = frames.of(event, &self.namespace, offset, &member.socket);
                member.send_unlogged(frames, &mut after);
            }
        }
        self.chosen = chosen;
        after
    }

    pub(crate) fn offset(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            position: self.last,
        }
    }
}

fn select_room(
    room: &Room,
    rooms: &HashMap<Room, Slots>,
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

fn leave_room(rooms: &mut HashMap<Room, Slots>, room: &Room, slot: Slot) {
    if let Some(members) = rooms.get_mut(room) {
        members.remove(&slot);
        if members.is_empty() {
            rooms.remove(room);
        }
    }
}
