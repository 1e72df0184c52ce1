//! One timer for everything: a hashed wheel that one task turns.
//!
//! An entry names its session by id, so it keeps nothing of a closed session alive. Entries are not cancelled: when one
//! comes due, the engine asks the session what is to be done, and mostly that is to look again later.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Micros;
use crate::sid::Sid;

const SLOTS: usize = 512;

/// What to do when an entry comes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Look after the session's heartbeat.
    Heartbeat,
    /// Tell the layer above that the time it asked for has passed.
    Timeout(u32),
    /// Forget what a closed long-polling session had left to say.
    Farewell,
}

/// An entry that came due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sid: Sid,
    pub(crate) task: Task,
    tick: u32,
}

/// Entries by the tick in which they come due.
pub(crate) struct Wheel {
    tick_micros: u64,
    slots: Mutex<Slots>,
}

struct Slots {
    /// The next tick to be handled.
    next_tick: u32,
    entries: Vec<Vec<Entry>>,
}

impl Wheel {
    pub(crate) fn new(resolution: Duration) -> Self {
        let entries = (0..SLOTS).map(|_| Vec::new()).collect();
        let tick_micros = Micros::from(resolution).0.max(1);
        Self {
            tick_micros,
            slots: Mutex::new(Slots {
                next_tick: 0,
                entries,
            }),
        }
    }

    pub(crate) fn resolution(&self) -> Duration {
        Duration::from_micros(self.tick_micros)
    }

    /// The tick that `now` belongs to. Spans that are measured from tick to tick do not add up the wheel's delays.
    pub(crate) fn align(&self, now: Micros) -> Micros {
        Micros(now.0 - now.0 % self.tick_micros)
    }

    /// Adds an entry that comes due at `due` or up to one tick later.
    pub(crate) fn add(&self, sid: Sid, task: Task, due: Micros) {
        let mut slots = self.slots.lock();
        let tick = self.tick_of(due, slots.next_tick);
        slots.entries[slot_of(tick)].push(Entry { sid, task, tick });
    }

    /// Takes out everything that is due at `now`.
    pub(crate) fn turn(&self, now: Micros, due: &mut Vec<Entry>) {
        let mut slots = self.slots.lock();
        let current = now.0 / self.tick_micros;
        let steps = (current as u32)
            .wrapping_sub(slots.next_tick)
            .wrapping_add(1);
        if steps > u32::MAX / 2 {
            return;
        }
        let last = slots.next_tick.wrapping_add(steps).wrapping_sub(1);
        for step in 0..steps.min(SLOTS as u32) {
            let slot = slot_of(slots.next_tick.wrapping_add(step));
            // The slot's memory is given back: after a burst of connections it would stay large for ever.
            let later: Vec<_> = std::mem::take(&mut slots.entries[slot])
                .into_iter()
                .filter(|entry| {
                    let is_due = last.wrapping_sub(entry.tick) <= u32::MAX / 2;
                    if is_due {
                        due.push(*entry);
                    }
                    !is_due
                })
                .collect();
            slots.entries[slot] = later;
        }
        slots.next_tick = last.wrapping_add(1);
    }

    /// The tick is counted modulo 2^32 and compared by difference, so that it may wrap.
    fn tick_of(&self, due: Micros, next_tick: u32) -> u32 {
        let tick = due.0.div_ceil(self.tick_micros) as u32;
        let ahead = tick.wrapping_sub(next_tick);
        if ahead > u32::MAX / 2 {
            next_tick
        } else {
            tick
        }
    }
}

fn slot_of(tick: u32) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 1000;

    fn due_at(wheel: &Wheel, now: u64) -> Vec<Task> {
        let mut due = Vec::new();
        wheel.turn(Micros(now), &mut due);
        due.into_iter().map(|entry| entry.task).collect()
    }

    fn wheel() -> Wheel {
        Wheel::new(Duration::from_micros(TICK))
    }

    #[test]
    fn an_entry_comes_due_once_and_never_early() {
        let wheel = wheel();
        wheel.add(Sid::random(), Task::Timeout(1), Micros(5_500));
        assert_eq!(due_at(&wheel, 5_499), []);
        assert_eq!(due_at(&wheel, 6_000), [Task::Timeout(1)]);
        assert_eq!(due_at(&wheel, 600_000), []);
    }

    #[test]
    fn an_entry_beyond_one_turn_waits_for_its_round() {
        let wheel = wheel();
        let far = TICK * (SLOTS as u64) * 3 + 10 * TICK;
        wheel.add(Sid::random(), Task::Heartbeat, Micros(far));
        for now in (0..far).step_by(TICK as usize) {
            assert_eq!(due_at(&wheel, now), [], "at {now}");
        }
        assert_eq!(due_at(&wheel, far), [Task::Heartbeat]);
    }

    #[test]
    fn a_late_turn_catches_up() {
        let wheel = wheel();
        for token in 0..2000 {
            wheel.add(
                Sid::random(),
                Task::Timeout(token),
                Micros(u64::from(token) * TICK),
            );
        }
        assert_eq!(due_at(&wheel, 10_000 * TICK).len(), 2000);
    }

    #[test]
    fn an_entry_in_the_past_is_due_at_once() {
        let wheel = wheel();
        assert_eq!(due_at(&wheel, 50 * TICK), []);
        wheel.add(Sid::random(), Task::Farewell, Micros(3));
        assert_eq!(due_at(&wheel, 51 * TICK), [Task::Farewell]);
    }

    #[test]
    fn the_tick_may_wrap() {
        let wheel = wheel();
        let end = u64::from(u32::MAX) * TICK;
        wheel.slots.lock().next_tick = u32::MAX - 1;
        wheel.add(Sid::random(), Task::Heartbeat, Micros(end + 5 * TICK));
        assert_eq!(due_at(&wheel, end), []);
        assert_eq!(due_at(&wheel, end + 5 * TICK), [Task::Heartbeat]);
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 28, "{}", size_of::<Entry>());
    }
}
