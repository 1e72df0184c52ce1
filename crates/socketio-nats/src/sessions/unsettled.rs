//! Updates whose outcome their writer never heard.
//!
//! After such an update its writer still holds the old revision, though the broker may hold the new one: the next write
//! would find a stranger's revision and its connection would end, for every session that changed while the broker was away.
//! So the ids of those updates are kept, until the writer's next write: what it finds then may be its own.
//!
//! Only what the same writer wrote counts. A connection on this node that takes the session over reads it first, and from
//! then on the earlier writer's updates are nobody's ([`Unsettled::forget`]): what was read is not what they have stored.

use std::collections::HashMap;
use std::mem;

use chatcluster_socketio::SessionKey;
use chatcluster_socketio::session::Revision;
use parking_lot::Mutex;

use crate::cells::WriteId;

/// Sessions with an update under way or unsettled. Beyond it an update is not remembered: its session may end early.
const MAX_SESSIONS: usize = 100_000;
/// Updates of one session over the same revision; beyond it the oldest is forgotten.
const MAX_UPDATES: usize = 16;

#[derive(Default)]
pub(super) struct Unsettled(Mutex<HashMap<SessionKey, Updates>>);

/// Updates of one session over one revision.
struct Updates {
    expected: Revision,
    updates: Vec<Update>,
}

struct Update {
    id: WriteId,
    /// False while it is under way: whoever waits for it will know.
    is_over: bool,
}

impl Updates {
    /// Those whose writers do not wait any more.
    fn over(&self) -> Vec<WriteId> {
        let over = self.updates.iter().filter(|u| u.is_over);
        over.map(|u| u.id).collect()
    }
}

impl Unsettled {
    /// An update begins.
    pub(super) fn begin(&self, key: SessionKey, expected: Revision, id: WriteId) -> Begun<'_> {
        let mut begun = Begun {
            unsettled: self,
            key,
            id,
            own: Vec::new(),
            is_settled: false,
        };
        let mut sessions = self.0.lock();
        if sessions.len() >= MAX_SESSIONS && !sessions.contains_key(&key) {
            return begun;
        }
        let updates = sessions.entry(key).or_insert(Updates {
            expected,
            updates: Vec::new(),
        });
        if updates.expected != expected {
            updates.expected = expected;
            updates.updates.clear();
        }
        begun.own = updates.over();
        if updates.updates.len() >= MAX_UPDATES {
            updates.updates.remove(0);
        }
        updates.updates.push(Update { id, is_over: false });
        begun
    }

    /// The session ends with a write over this revision: the ids that it may find, for the last time.
    pub(super) fn take(&self, key: SessionKey, expected: Revision) -> Vec<WriteId> {
        let taken = self.0.lock().remove(&key);
        taken
            .filter(|updates| updates.expected == expected)
            .map_or_else(Vec::new, |updates| updates.over())
    }

    /// Somebody read the session in order to take it over.
    pub(super) fn forget(&self, key: SessionKey) {
        self.0.lock().remove(&key);
    }

    fn end(&self, key: SessionKey, id: WriteId) {
        let mut sessions = self.0.lock();
        let updates = sessions.get_mut(&key).map(|updates| &mut updates.updates);
        if let Some(update) = updates.and_then(|u| u.iter_mut().find(|u| u.id == id)) {
            update.is_over = true;
        }
    }
}

/// An update under way. Dropped before it is settled, also because nobody waits for it any more, it may have been stored.
pub(super) struct Begun<'a> {
    unsettled: &'a Unsettled,
    key: SessionKey,
    id: WriteId,
    own: Vec<WriteId>,
    is_settled: bool,
}

impl Begun<'_> {
    /// Earlier updates over the same revision that may have been stored.
    pub(super) fn own(&self) -> &[WriteId] {
        &self.own
    }

    /// The outcome is known.
    pub(super) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if mem::take(&mut self.is_settled) {
            self.unsettled.forget(self.key);
        } else {
            self.unsettled.end(self.key, self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_counts_once_its_writer_waits_no_more() {
        let (unsettled, key) = (Unsettled::default(), SessionKey::random());
        let (a, b, c) = (WriteId::random(), WriteId::random(), WriteId::random());
        let first = unsettled.begin(key, 5, a);
        let second = unsettled.begin(key, 5, b);
        assert!(second.own().is_empty(), "the first is still under way");
        drop(first);
        let third = unsettled.begin(key, 5, c);
        assert_eq!(third.own(), [a]);
        third.settle();
        drop(second);
        assert!(unsettled.take(key, 5).is_empty());
        assert!(unsettled.0.lock().is_empty());
    }

    #[test]
    fn an_update_over_another_revision_does_not_count() {
        let (unsettled, key) = (Unsettled::default(), SessionKey::random());
        drop(unsettled.begin(key, 5, WriteId::random()));
        assert!(unsettled.begin(key, 6, WriteId::random()).own().is_empty());
        assert!(unsettled.take(key, 5).is_empty());
    }

    #[test]
    fn who_reads_a_session_disowns_the_updates_under_way() {
        let (unsettled, key) = (Unsettled::default(), SessionKey::random());
        let under_way = unsettled.begin(key, 5, WriteId::random());
        unsettled.forget(key);
        drop(under_way);
        assert!(unsettled.take(key, 5).is_empty());
    }

    #[test]
    fn updates_of_a_long_outage_are_bounded() {
        let (unsettled, key) = (Unsettled::default(), SessionKey::random());
        for _ in 0..2 * MAX_UPDATES {
            drop(unsettled.begin(key, 5, WriteId::random()));
        }
        assert_eq!(unsettled.take(key, 5).len(), MAX_UPDATES);
    }
}
