//! Replay: whether what a session missed is still in the window, and moving its socket along it until it is live.

use std::sync::Arc;
use std::time::Instant;

use super::{Registry, Slot};
use crate::config::Recovery;
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

impl Registry {
    /// The log goes on after `position`, in `epoch`, and what lies between will not come. Returns the sockets, whose
    /// sessions cannot go on.
    pub(crate) fn restart(&mut self, epoch: u64, position: u64) -> Vec<Arc<Socket>> {
        self.epoch = epoch;
        self.last = position;
        self.window.restart(position, Instant::now());
        self.sockets()
    }

    /// True if this node no longer holds everything that a client at `position` can lack.
    pub(crate) fn has_gap_after(&self, position: u64) -> bool {
        self.window.has_gap_after(position, Instant::now())
    }

    /// True if a recovery from `position` would replay more than the caps allow.
    pub(crate) fn missed_too_much(&self, record: &Record, position: u64, caps: &Recovery) -> bool {
        let (mut events, mut bytes) = (0, 0);
        self.window.after(position).any(|entry| {
            if is_entitled(entry, record.sid, record.start, &record.intervals) {
                events += 1;
                bytes += entry.envelope.event.len_bytes();
            }
            events > caps.max_replay_events || bytes > caps.max_replay_bytes
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
        let is_lost = self.window.dropped_to() > cursor || member.gap_below > cursor;
        // Above the end: of an epoch that ended while the session was being opened.
        if is_lost || cursor > self.last {
            return CatchUp::Gap;
        }
        // What was sent before anything was logged behind it.
        member.release_held(&self.namespace, offset, after);
        let mut bytes = 0;
        for (seen, entry) in self.window.after(cursor).enumerate() {
            if bytes >= REPLAY_CHUNK_BYTES || seen >= REPLAY_CHUNK_ENTRIES {
                return CatchUp::More;
            }
            bytes += member.replay_entry(entry, &self.namespace, self.epoch, after);
        }
        member.go_live(&self.namespace, offset, now_ms, after);
        CatchUp::Live
    }
}
