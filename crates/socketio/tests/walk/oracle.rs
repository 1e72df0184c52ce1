//! What a session is entitled to, computed from positions alone.

/// An event that the log took.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) position: u64,
    pub(crate) id: u64,
    /// Nobody's rooms: everybody.
    pub(crate) rooms: Vec<String>,
    pub(crate) except: Vec<String>,
}

/// A stay in a room.
#[derive(Debug, Clone)]
pub(crate) struct Stay {
    room: String,
    joined: u64,
    left: Option<u64>,
}

/// A session as the client that has it knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub(crate) sid: String,
    /// It began at this position or later.
    pub(crate) begun_after: u64,
    pub(crate) stays: Vec<Stay>,
    /// Positions and ids of all that it received, over all its connections.
    pub(crate) received: Vec<(u64, u64)>,
}

impl Session {
    pub(crate) fn join(&mut self, room: &str, position: u64) {
        if !self
            .stays
            .iter()
            .any(|s| s.room == room && s.left.is_none())
        {
            self.stays.push(Stay {
                room: room.to_owned(),
                joined: position,
                left: None,
            });
        }
    }

    pub(crate) fn leave(&mut self, room: &str, position: u64) {
        let open = |s: &&mut Stay| s.room == room && s.left.is_none();
        if let Some(stay) = self.stays.iter_mut().find(open) {
            stay.left = Some(position);
        }
    }

    fn was_in(&self, room: &str, position: u64) -> bool {
        let covers = |s: &Stay| position > s.joined && s.left.is_none_or(|left| position <= left);
        room == self.sid || self.stays.iter().any(|s| s.room == room && covers(s))
    }

    fn is_entitled(&self, published: &Published) -> bool {
        let was_in = |room: &String| self.was_in(room, published.position);
        let is_target = published.rooms.is_empty() || published.rooms.iter().any(was_in);
        is_target && !published.except.iter().any(was_in)
    }

    /// What it must have received by `end`, given where it was when its connect handler ran.
    ///
    /// Nobody is told the position at which a session starts: it lies between the two that are known, and everything above
    /// it counts. So the first event received tells it, if that lies between them.
    pub(crate) fn expected(
        &self,
        log: &[Published],
        connected_at: u64,
        end: u64,
    ) -> Vec<(u64, u64)> {
        let first = self.received.first().map(|(position, _)| *position);
        let start = first
            .filter(|first| *first > self.begun_after && *first <= connected_at)
            .map_or(connected_at, |first| first - 1);
        let mut expected: Vec<_> = log
            .iter()
            .filter(|p| p.position > start && p.position < end && self.is_entitled(p))
            .map(|p| (p.position, p.id))
            .collect();
        expected.sort_unstable();
        expected
    }
}
