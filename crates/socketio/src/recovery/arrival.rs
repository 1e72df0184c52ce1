//! Sessions that are being taken over here: who takes one of them next must be heard of before there is a socket to close.

use std::collections::HashMap;
use std::sync::Arc;

use crate::namespace::Namespace;
use crate::session::Revision;
use crate::sid::Sid;

/// The sessions that connections of this node are taking over now: one entry each, so the connections bound them.
#[derive(Default)]
pub(crate) struct Arrivals(HashMap<Sid, Expected>);

#[derive(Default)]
struct Expected {
    connections: usize,
    /// The highest revision with which anybody has taken it meanwhile.
    taken_with: Revision,
}

impl Arrivals {
    /// Somebody has taken a session with this revision.
    pub(crate) fn note(&mut self, sid: Sid, revision: Revision) {
        if let Some(expected) = self.0.get_mut(&sid) {
            expected.taken_with = expected.taken_with.max(revision);
        }
    }

    /// True if somebody has taken the session later than with this revision.
    pub(crate) fn is_overtaken(&self, sid: Sid, revision: Revision) -> bool {
        let expected = self.0.get(&sid);
        expected.is_some_and(|expected| expected.taken_with > revision)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn expect(&mut self, sid: Sid) {
        self.0.entry(sid).or_default().connections += 1;
    }

    fn forget(&mut self, sid: Sid) {
        if let Some(expected) = self.0.get_mut(&sid) {
            expected.connections -= 1;
            if expected.connections == 0 {
                self.0.remove(&sid);
            }
        }
    }
}

/// One connection that is taking a session over: begins before the session is taken, ends when its socket can be found.
pub(crate) struct Arrival {
    namespace: Arc<Namespace>,
    sid: Sid,
}

impl Arrival {
    pub(super) fn begin(namespace: &Arc<Namespace>, sid: Sid) -> Self {
        namespace.registry().lock().arrivals.expect(sid);
        let namespace = namespace.clone();
        Self { namespace, sid }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.namespace.registry().lock().arrivals.forget(self.sid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_remembered_as_long_as_another_is_on_its_way() {
        let (mut arrivals, sid) = (Arrivals::default(), Sid::random());
        arrivals.note(sid, 9);
        arrivals.expect(sid);
        assert!(!arrivals.is_overtaken(sid, 1), "nobody was on the way");
        arrivals.expect(sid);
        arrivals.note(sid, 7);
        arrivals.note(sid, 6);
        arrivals.forget(sid);
        assert!(arrivals.is_overtaken(sid, 6));
        assert!(!arrivals.is_overtaken(sid, 7), "it is the last one itself");
        arrivals.forget(sid);
        assert!(arrivals.0.is_empty());
    }
}
