//! The memory window: the newest part of the log, bounded in bytes and age, from which recovery replays.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::Entry;

/// The newest entries of one namespace's log on this node, in order of position.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    max_bytes: usize,
    /// What is older reached every client that still answered pings, so nobody can miss it (semantics 6).
    span: Duration,
    /// Newest entry that was dropped for its size, not its age: position and time of append.
    cut: Option<(u64, Instant)>,
    /// Newest entry that was dropped for whatever reason; a replay that is not there yet has lost it.
    dropped_to: u64,
}

impl Window {
    pub(crate) fn new(max_bytes: usize, span: Duration) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes,
            span,
            cut: None,
            dropped_to: 0,
        }
    }

    /// Other bounds from here on; what is beyond them goes with the next entry.
    pub(crate) fn narrow(&mut self, max_bytes: usize, span: Duration) {
        self.max_bytes = max_bytes;
        self.span = span;
    }

    /// This node has joined the log at `position`: what lies before was never here, whoever else has seen it.
    pub(crate) fn begin(&mut self, position: u64, now: Instant) {
        self.cut.get_or_insert((position, now));
        self.dropped_to = self.dropped_to.max(position);
    }

    /// Begins anew: what lies between the last entry and `position` will not come, so that whoever lacks it has a gap.
    pub(crate) fn restart(&mut self, position: u64, now: Instant) {
        self.entries.clear();
        self.bytes = 0;
        self.cut = Some((position, now));
        self.dropped_to = position;
    }

    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        let now = entry.appended_at;
        self.bytes += entry.len_bytes();
        self.entries.push_back(entry);
        self.trim(now);
    }

    fn trim(&mut self, now: Instant) {
        while let Some(first) = self.entries.front() {
            let is_aged = now.saturating_duration_since(first.appended_at) > self.span;
            if !is_aged && self.bytes <= self.max_bytes {
                break;
            }
            if !is_aged {
                self.cut = Some((first.position, first.appended_at));
            }
            self.dropped_to = first.position;
            self.bytes -= first.len_bytes();
            self.entries.pop_front();
        }
        // A burst must not pin its peak for ever.
        if self.entries.capacity() > 1024 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// True if an entry after `position` may be missing here although a client can still lack it.
    pub(crate) fn has_gap_after(&self, position: u64, now: Instant) -> bool {
        self.cut.is_some_and(|(cut, at)| {
            cut > position && now.saturating_duration_since(at) <= self.span
        })
    }

    /// The position up to which nothing can be replayed.
    pub(crate) fn dropped_to(&self) -> u64 {
        self.dropped_to
    }

    /// The entries with positions above `position`, oldest first.
    pub(crate) fn after(&self, position: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let start = self.entries.partition_point(|e| e.position <= position);
        self.entries.range(start..)
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::log::{Envelope, Target};

    fn entry(position: u64) -> Arc<Entry> {
        let event = Event::new("e", &"0123456789").unwrap();
        let envelope = Envelope {
            target: Target::All,
            except: [].into_iter().collect(),
            event,
            announced_by: None,
        };
        Arc::new(Entry::new(position, envelope))
    }

    #[test]
    fn what_follows_a_position_is_found_although_positions_skip() {
        let mut window = Window::new(1 << 20, Duration::from_secs(60));
        for position in [10, 11, 15, 20] {
            window.push(entry(position));
        }
        let after = |p| window.after(p).map(|e| e.position).collect::<Vec<_>>();
        assert_eq!(after(0), [10, 11, 15, 20]);
        assert_eq!(after(11), [15, 20]);
        assert_eq!(after(13), [15, 20]);
        assert!(after(20).is_empty());
    }

    #[test]
    fn an_entry_lost_to_the_byte_bound_is_a_gap_until_it_has_aged() {
        let size = entry(1).len_bytes();
        let mut window = Window::new(2 * size, Duration::from_secs(60));
        for position in 1..=3 {
            window.push(entry(position));
        }
        let now = Instant::now();
        assert!(window.has_gap_after(0, now));
        assert!(
            !window.has_gap_after(1, now),
            "a client at 1 needs 2 and 3 only"
        );
        assert!(!window.has_gap_after(0, now + Duration::from_secs(61)));
        assert_eq!(window.len_bytes(), 2 * size);
    }

    #[test]
    fn an_entry_lost_to_age_is_no_gap() {
        let mut window = Window::new(1 << 20, Duration::ZERO);
        window.push(entry(1));
        std::thread::yield_now();
        window.push(entry(2));
        assert!(!window.has_gap_after(0, Instant::now()));
        assert_eq!(
            window.dropped_to(),
            1,
            "a replay that was not there yet has lost it all the same"
        );
    }
}
