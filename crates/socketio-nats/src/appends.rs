//! Who waits for what it appended to be delivered on this node, and what became of it.

use std::collections::BTreeMap;

use chatcluster_socketio::log::{AppendDone, Appended};

/// Duplicates that are remembered: more than can be on their way at a time.
const DUPLICATES: usize = 4096;

/// An append whose fate is known, and who is to be told.
pub(crate) type Told = (Appended, AppendDone);

/// The appends of one node.
#[derive(Default)]
pub(crate) struct Appends {
    /// Up to here everything has been delivered and is done with.
    completed: u64,
    waiting: BTreeMap<u64, Vec<Told>>,
    /// Positions that turned out to hold nothing new, and where the first one is: for whoever asks after they were passed.
    duplicates: BTreeMap<u64, u64>,
}

impl Appends {
    pub(crate) fn new(completed: u64) -> Self {
        Self {
            completed,
            ..Self::default()
        }
    }

    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// Waits until the position is completed; given back if it is.
    pub(crate) fn wait(&mut self, appended: Appended, done: AppendDone) -> Option<Told> {
        if appended.position > self.completed {
            let waiting = self.waiting.entry(appended.position).or_default();
            waiting.push((appended, done));
            return None;
        }
        let first = self.duplicates.get(&appended.position);
        let appended = first.map_or(appended, |first| duplicate_of(*first));
        Some((appended, done))
    }

    /// A position is done with; `first` is where the same message is, if it was there before.
    pub(crate) fn complete(&mut self, position: u64, first: Option<u64>) -> Vec<Told> {
        self.completed = position;
        if let Some(first) = first {
            self.duplicates.insert(position, first);
            if self.duplicates.len() > DUPLICATES {
                self.duplicates.pop_first();
            }
        }
        let earliest = self.waiting.first_key_value();
        if earliest.is_none_or(|(waited, _)| *waited > position) {
            return Vec::new();
        }
        let later = self.waiting.split_off(&(position + 1));
        let mut told = flat(std::mem::replace(&mut self.waiting, later));
        for (appended, _) in &mut told {
            if let (Some(first), true) = (first, appended.position == position) {
                *appended = duplicate_of(first);
            }
        }
        told
    }

    /// The log goes on elsewhere. Who waits is told that its message is logged: it is, wherever this node reads on.
    pub(crate) fn restart(&mut self, position: u64) -> Vec<Told> {
        self.completed = position;
        self.duplicates.clear();
        self.end()
    }

    /// Nothing more is delivered: what was appended is in the log, whether or not it has been seen here.
    pub(crate) fn end(&mut self) -> Vec<Told> {
        flat(std::mem::take(&mut self.waiting))
    }
}

fn flat(waiting: BTreeMap<u64, Vec<Told>>) -> Vec<Told> {
    waiting.into_values().flatten().collect()
}

/// What is told of a message that the log had before.
pub(crate) fn duplicate_of(first: u64) -> Appended {
    Appended {
        position: first,
        is_duplicate: true,
    }
}

/// Tells them.
pub(crate) fn tell(told: Vec<Told>) {
    for (appended, done) in told {
        done(Ok(appended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Appended {
        Appended {
            position,
            is_duplicate: false,
        }
    }

    fn nobody() -> AppendDone {
        Box::new(|_| ())
    }

    fn positions(told: &[Told]) -> Vec<Appended> {
        told.iter().map(|(appended, _)| *appended).collect()
    }

    #[test]
    fn a_copy_is_the_first_one_to_who_asks_before_and_after_it_was_passed() {
        let mut appends = Appends::new(4);
        assert!(appends.wait(at(5), nobody()).is_none());
        assert!(appends.wait(at(6), nobody()).is_none());
        assert_eq!(positions(&appends.complete(5, None)), [at(5)]);
        assert_eq!(positions(&appends.complete(6, Some(5))), [duplicate_of(5)]);
        let (late, _) = appends.wait(at(6), nobody()).unwrap();
        assert_eq!(late, duplicate_of(5));
        let (other, _) = appends.wait(at(5), nobody()).unwrap();
        assert_eq!(other, at(5));
    }

    #[test]
    fn what_was_passed_in_one_step_is_told_together() {
        let mut appends = Appends::new(0);
        for position in [3, 1, 2, 9] {
            assert!(appends.wait(at(position), nobody()).is_none());
        }
        assert_eq!(positions(&appends.complete(3, None)), [at(1), at(2), at(3)]);
        assert_eq!(positions(&appends.restart(20)), [at(9)]);
        assert_eq!(appends.completed(), 20);
    }
}
