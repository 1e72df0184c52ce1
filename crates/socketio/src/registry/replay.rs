//! Replay: whether what a session missed is still in the window, and moving its socket along it until it is live.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Registry, Slot};
use crate::config::Recovery;
use crate::counters::NotRecovered;
use crate::log::Entry;
use crate::member::{After, is_entitled};
use crate::session::Record;
use crate::socket::Socket;

/// Bytes handed to a replaying socket at a time; the next go follows when it has been written.
const REPLAY_CHUNK_BYTES: usize = 64 * 1024;
/// Entries looked at under the lock at a time.
const REPLAY_CHUNK_ENTRIES: usize = 4096;

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

/// What this node holds of what a session missed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// All of it: replay begins after this position.
    Held(u64),
    /// Not what the log said above `after` and up to `through`.
    Lacking { after: u64, through: u64 },
}

/// What a session missed that this node held no more, read from the log: only what is for it.
#[derive(Debug, Default)]
pub(crate) struct Older {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    /// Everything up to here is among them, or not for this session.
    through: u64,
}

impl Older {
    /// Takes what was read up to `through`.
    pub(crate) fn extend(&mut self, read: Vec<Arc<Entry>>, through: u64, record: &Record) {
        for entry in read {
            if is_entitled(&entry, record.sid, record.start, &record.intervals) {
                self.bytes += entry.envelope.event.len_bytes();
                self.entries.push_back(entry);
            }
        }
        self.through = through;
    }
}

impl Registry {
    /// The log goes on after `position`, in `epoch`, and what lies between will not come. Returns the sockets, whose
    /// sessions cannot go on.
    pub(crate) fn restart(&mut self, epoch: u64, position: u64) -> Vec<Arc<Socket>> {
        self.epoch = epoch;
        self.last = position;
        self.window.restart(position, Instant::now());
        self.sockets()
    }

    /// Where the replay of a session begins whose client has everything up to `position`, or will have by `older`.
    pub(crate) fn place(
        &self,
        record: &Record,
        position: u64,
        older: &Older,
        caps: &Recovery,
    ) -> Result<Placed, NotRecovered> {
        let dropped_to = self.window.dropped_to();
        // What has aged out is nothing that a client can lack that was live until then. One that was still being sent
        // what it missed was never sent it.
        let is_lacking = !record.is_caught_up && position < dropped_to;
        if position < record.gap_below {
            return Err(NotRecovered::Gap);
        }
        let has_gap = is_lacking || self.has_gap_after(position);
        let from = position.max(dropped_to);
        if self.missed_too_much(record, from, older, caps) {
            return Err(NotRecovered::TooMuch);
        }
        Ok(if has_gap {
            Placed::Lacking {
                after: position,
                through: from,
            }
        } else {
            Placed::Held(from)
        })
    }

    /// True if this node no longer holds everything that a client at `position` can lack.
    fn has_gap_after(&self, position: u64) -> bool {
        self.window.has_gap_after(position, Instant::now())
    }

    /// True if a recovery from `position` would replay more than the caps allow.
    fn missed_too_much(
        &self,
        record: &Record,
        position: u64,
        older: &Older,
        caps: &Recovery,
    ) -> bool {
        let (mut events, mut bytes) = (older.entries.len(), older.bytes);
        let is_above =
            |events, bytes| events > caps.max_replay_events || bytes > caps.max_replay_bytes;
        let mut held = self.window.after(position);
        is_above(events, bytes)
            || held.any(|entry| {
                if is_entitled(entry, record.sid, record.start, &record.intervals) {
                    events += 1;
                    bytes += entry.envelope.event.len_bytes();
                }
                is_above(events, bytes)
            })
    }

    /// A socket has been sent its history; the log comes next.
    pub(crate) fn end_backfill(&mut self, slot: Slot, socket: &Socket) {
        if let Some(member) = self.member(slot, socket) {
            member.is_backfilling = false;
        }
    }

    /// Moves a replaying socket along the window, one chunk at a time; at its end the socket is live.
    pub(crate) fn catch_up(
        &mut self,
        slot: Slot,
        socket: &Socket,
        now_ms: u64,
        after: &mut After,
    ) -> CatchUp {
        let offset = self.offset();
        let member = self.members.get_mut(slot);
        let Some(member) = member.filter(|m| std::ptr::eq(Arc::as_ptr(&m.socket), socket)) else {
            return CatchUp::Gone;
        };
        let Some(cursor) = member.cursor else {
            return CatchUp::Live;
        };
        let held_from = member
            .older
            .as_ref()
            .map_or(cursor, |older| older.through.max(cursor));
        let is_lost = self.window.dropped_to() > held_from || member.gap_below > cursor;
        // Above the end: of an epoch that ended while the session was being opened.
        if is_lost || cursor > self.last {
            return CatchUp::Gap;
        }
        // What was sent before anything was logged behind it.
        member.release_held(&self.namespace, offset, after);
        let mut bytes = 0;
        while let Some(older) = &mut member.older {
            let Some(entry) = older.entries.pop_front() else {
                // What lies between has been read, and is not for it.
                member.cursor = Some(held_from);
                member.older = None;
                break;
            };
            bytes += member.replay_entry(&entry, &self.namespace, self.epoch, after);
            if bytes >= REPLAY_CHUNK_BYTES {
                return CatchUp::More;
            }
        }
        for (seen, entry) in self.window.after(held_from).enumerate() {
            if bytes >= REPLAY_CHUNK_BYTES || seen >= REPLAY_CHUNK_ENTRIES {
                return CatchUp::More;
            }
            bytes += member.replay_entry(entry, &self.namespace, self.epoch, after);
        }
        member.go_live(&self.namespace, offset, now_ms, after);
        CatchUp::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::log::{Envelope, Target};
    use crate::sid::{NodeId, Sid};
    use crate::window::Window;
    use std::time::Duration;

    /// A registry that has forgotten all but the last of three entries, because of their age.
    fn aged() -> Registry {
        let mut registry = Registry::new("/".into(), Window::new(1 << 20, Duration::ZERO));
        for position in 1..=3 {
            let envelope = Envelope {
                target: Target::All,
                except: [].into_iter().collect(),
                event: Event::new("e", &position).unwrap(),
                announced_by: None,
            };
            std::thread::yield_now();
            registry.deliver(&Arc::new(Entry::new(position, envelope)));
        }
        registry
    }

    fn record(is_caught_up: bool) -> Record {
        Record {
            sid: Sid::random(),
            identity: None,
            owner: NodeId::new("a"),
            takeovers: 0,
            epoch: 1,
            start: 0,
            intervals: Vec::new(),
            gap_below: 0,
            is_connected: false,
            is_caught_up,
            is_untouched: false,
            data: "".into(),
            overflowed_at: None,
        }
    }

    #[test]
    fn what_has_aged_is_lacking_only_to_who_was_never_live() {
        let (registry, caps) = (aged(), Recovery::default());
        let dropped_to = registry.window.dropped_to();
        assert!(dropped_to >= 1, "something has aged");
        let place =
            |record: Record, position| registry.place(&record, position, &Older::default(), &caps);
        assert_eq!(place(record(true), 0), Ok(Placed::Held(dropped_to)));
        let lacking = Placed::Lacking {
            after: 0,
            through: dropped_to,
        };
        assert_eq!(place(record(false), 0), Ok(lacking));
        let held = Ok(Placed::Held(dropped_to));
        assert_eq!(place(record(false), dropped_to), held);
    }
}
