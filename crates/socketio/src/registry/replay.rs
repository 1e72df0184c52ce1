//! Replay: whether what a session missed is still in the window, and moving its socket along it until it is live.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Registry, Slot};
use crate::config::Recovery;
use crate::counters::NotRecovered;
use crate::log::Entry;
use crate::member::{After, is_entitled};
use crate::session::{Ended, Quiet, Record};
use crate::socket::Socket;
use crate::window::Window;

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
                self.bytes += entry.envelope().event.len_bytes();
                self.entries.push_back(entry);
            }
        }
        self.through = through;
    }
}

/// What the window holds for a session after a position: counted once, later only what has been added.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    from: u64,
    through: u64,
    events: usize,
    bytes: usize,
    /// The last of them.
    last: Option<u64>,
}

impl Missed {
    /// Counts up to the window's end, or until it is more than a replay may carry.
    fn count(&mut self, window: &Window, record: &Record, from: u64, caps: &Recovery) {
        if self.from != from {
            *self = Self {
                from,
                through: from,
                ..Self::default()
            };
        }
        for entry in window.after(self.through) {
            if self.is_above(&Older::default(), caps) {
                return;
            }
            self.through = entry.position;
            if is_entitled(entry, record.sid, record.start, &record.intervals) {
                self.events += 1;
                self.bytes += entry.envelope().event.len_bytes();
                self.last = Some(entry.position);
            }
        }
    }

    /// True if it is more, with what comes before it, than a replay may carry.
    fn is_above(&self, older: &Older, caps: &Recovery) -> bool {
        self.events + older.entries.len() > caps.max_replay_events
            || self.bytes + older.bytes > caps.max_replay_bytes
    }
}

impl Registry {
    /// The log goes on after `position`, in `epoch`, and what lies between will not come. Returns the sockets, whose
    /// sessions cannot go on, and why not; from here on they are sent nothing.
    pub(crate) fn restart(&mut self, epoch: u64, position: u64) -> (Vec<Arc<Socket>>, Ended) {
        let is_same = std::mem::replace(&mut self.epoch, epoch) == epoch;
        let why = if is_same { Ended::Gap } else { Ended::Epoch };
        self.last = position;
        self.window.restart(position, Instant::now());
        for (_, member) in &mut self.members {
            member.is_over = true;
        }
        (self.sockets(), why)
    }

    /// What a session that is about to be taken over will have missed, and where the log holds nothing for it after that;
    /// `None` if this node cannot say, because it has not read as far as the client.
    pub(crate) fn survey(
        &self,
        record: &Record,
        position: u64,
        caps: &Recovery,
    ) -> (Option<Quiet>, Missed) {
        let mut missed = Missed::default();
        if self.last < record.seen(position) {
            return (None, missed);
        }
        let placed = self.place(record, position, &Older::default(), (&mut missed, caps));
        let quiet = placed.ok().map(|placed| Quiet {
            after: missed.last.unwrap_or(match placed {
                Placed::Held(_) => position,
                // What it needs from the log may hold something for it up to its end.
                Placed::Lacking { through, .. } => through,
            }),
            through: self.last,
        });
        (quiet, missed)
    }

    /// Where the replay of a session begins whose client has everything up to `position`, or will have by `older`.
    pub(crate) fn place(
        &self,
        record: &Record,
        position: u64,
        older: &Older,
        (missed, caps): (&mut Missed, &Recovery),
    ) -> Result<Placed, NotRecovered> {
        let dropped_to = self.window.dropped_to();
        let complete = record.complete_from(position).min(self.last);
        // What has aged out is nothing that a client can lack that was live until then. One that was still being sent
        // what it missed, or has not got the end of it, was never sent it.
        let was_live = record.is_caught_up && position >= record.quiet.after;
        let is_lacking = !was_live && complete < dropped_to;
        if position < record.gap_below {
            return Err(NotRecovered::Gap);
        }
        let has_gap = is_lacking || self.has_gap_after(complete);
        let from = complete.max(dropped_to);
        missed.count(&self.window, record, from, caps);
        if missed.is_above(older, caps) {
            return Err(NotRecovered::TooMuch);
        }
        Ok(if has_gap {
            Placed::Lacking {
                after: complete,
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
        if member.is_over {
            return CatchUp::Gone;
        }
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
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};
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
            quiet: Quiet::default(),
            ended: None,
        }
    }

    #[test]
    fn what_has_aged_is_lacking_only_to_who_was_never_live() {
        let (registry, caps) = (aged(), Recovery::default());
        let dropped_to = registry.window.dropped_to();
        assert!(dropped_to >= 1, "something has aged");
        let place = |record: Record, position| {
            registry.place(
                &record,
                position,
                &Older::default(),
                (&mut Missed::default(), &caps),
            )
        };
        assert_eq!(place(record(true), 0), Ok(Placed::Held(dropped_to)));
        let lacking = Placed::Lacking {
            after: 0,
            through: dropped_to,
        };
        assert_eq!(place(record(false), 0), Ok(lacking));
        let held = Ok(Placed::Held(dropped_to));
        assert_eq!(place(record(false), dropped_to), held);
    }

    /// A registry that keeps entries for a minute, and got these: each with its position and its age in seconds.
    fn registry(entries: &[(u64, u64)]) -> Registry {
        let window = Window::new(1 << 20, Duration::from_secs(60));
        let mut registry = Registry::new("/".into(), window);
        for (position, age) in entries {
            deliver(&mut registry, (*position, Target::All), *age);
        }
        registry
    }

    fn deliver(registry: &mut Registry, (position, target): (u64, Target), age: u64) {
        let envelope = Envelope {
            target,
            except: [].into_iter().collect(),
            event: Event::new("e", &position).unwrap(),
            announced_by: None,
        };
        let age = Duration::from_secs(age);
        registry.deliver(&Arc::new(Entry::aged(position, envelope, age)));
    }

    fn placed(registry: &Registry, record: &Record, position: u64) -> Placed {
        let mut missed = Missed::default();
        let caps = Recovery::default();
        let placed = registry.place(record, position, &Older::default(), (&mut missed, &caps));
        placed.expect("it can be recovered")
    }

    /// The record as the takeover of a client at this position writes it.
    fn taken(registry: &Registry, position: u64) -> Record {
        let (quiet, _) = registry.survey(&record(true), position, &Recovery::default());
        Record {
            quiet: quiet.expect("the node has read that far"),
            ..record(true)
        }
    }

    #[test]
    fn while_nobody_is_here_entries_are_kept_unread_until_somebody_may_have_missed_them() {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = reads.clone();
        let unpack = Arc::new(move |bytes: &[u8]| {
            counted.fetch_add(1, Ordering::Relaxed);
            let envelope = Envelope {
                target: Target::All,
                except: [].into_iter().collect(),
                event: Event::new("e", &0).unwrap(),
                announced_by: None,
            };
            (bytes != b"broken").then_some(envelope)
        });
        let mut registry = registry(&[]);
        for (position, packed) in (1..).zip(["", "broken", "", ""]) {
            let packed = Bytes::from_static(packed.as_bytes());
            let entry = Entry::packed(position, packed, unpack.clone(), Duration::ZERO);
            registry.deliver(&Arc::new(entry));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 0);
        let (window, caps) = (&registry.window, Recovery::default());
        for _ in 0..2 {
            let mut missed = Missed::default();
            missed.count(window, &record(true), 1, &caps);
            assert_eq!((missed.events, missed.last), (2, Some(4)));
            assert_eq!(
                reads.load(Ordering::Relaxed),
                3,
                "each of those above 1, once"
            );
        }
    }

    #[test]
    fn what_was_missed_before_the_last_takeover_is_lacking_however_old_until_all_of_it_has_come() {
        let mut registry = registry(&[(1, 100), (2, 50), (3, 45)]);
        let record = taken(&registry, 0);
        deliver(&mut registry, (4, Target::All), 0);
        assert_eq!(registry.window.dropped_to(), 1);
        let lacking = Placed::Lacking {
            after: 0,
            through: 1,
        };
        assert_eq!(placed(&registry, &record, 0), lacking);
        assert_eq!(placed(&registry, &record, 1), Placed::Held(1));
        assert_eq!(placed(&registry, &record, 3), Placed::Held(3));
    }

    #[test]
    fn who_missed_nothing_before_the_last_takeover_lacks_nothing_of_that_time() {
        let mut registry = registry(&[]);
        let somebody = Target::Session(Sid::random());
        deliver(&mut registry, (1, somebody.clone()), 0);
        let bytes = registry.window.len_bytes();
        deliver(&mut registry, (2, somebody.clone()), 0);
        let record = taken(&registry, 0);
        // The window holds one entry from here on: the others are gone before their time.
        registry.narrow_window(bytes, Duration::from_secs(60));
        deliver(&mut registry, (3, somebody), 0);
        assert_eq!(registry.window.dropped_to(), 2);
        assert_eq!(placed(&registry, &record, 0), Placed::Held(2));
        let lacking = Placed::Lacking {
            after: 0,
            through: 2,
        };
        let unknown = Record {
            quiet: Quiet::default(),
            ..record
        };
        assert_eq!(placed(&registry, &unknown, 0), lacking);
    }

    #[test]
    fn a_node_behind_the_client_says_nothing_of_what_it_missed() {
        let registry = registry(&[(1, 0)]);
        let (quiet, _) = registry.survey(&record(true), 2, &Recovery::default());
        assert_eq!(quiet, None);
    }
}
