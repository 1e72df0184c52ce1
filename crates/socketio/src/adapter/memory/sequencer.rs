//! Gives positions, and releases entries in their order once what is stored before them is committed (semantics 8).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use super::follower::Follower;
use crate::log::{AppendDone, AppendError, Appended, Committed, Entry, Envelope, Record, Store};

/// Appends, and their bytes, that may wait for commits before new ones are refused.
const MAX_WAITING: usize = 1 << 16;
const MAX_WAITING_BYTES: usize = 64 << 20;

pub(super) struct Sequencer {
    shared: Arc<Shared>,
    store: Option<Arc<dyn Store>>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// Given out but not released: something before them, or they themselves, wait for a commit.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    followers: Vec<Arc<Follower>>,
}

struct Waiting {
    entry: Entry,
    done: AppendDone,
    /// `None` while the store works on it.
    fate: Option<Committed>,
}

/// Callbacks to run once the lock is given back.
type Decided = Vec<(AppendDone, Result<Appended, AppendError>)>;

impl Sequencer {
    pub(super) fn new(first: u64, store: Option<Arc<dyn Store>>) -> Self {
        let state = State {
            next: first,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            followers: Vec::new(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
            store,
        }
    }

    /// Adds a follower; returns the position before the first one that it will be given.
    pub(super) fn follow(&self, follower: Arc<Follower>) -> u64 {
        let mut state = self.shared.state.lock();
        state.followers.push(follower);
        let first = state
            .waiting
            .front()
            .map_or(state.next, |w| w.entry.position);
        first - 1
    }

    pub(super) fn unfollow(&self, follower: &Arc<Follower>) {
        let mut state = self.shared.state.lock();
        state.followers.retain(|f| !Arc::ptr_eq(f, follower));
    }

    pub(super) fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        let decided = {
            let mut state = self.shared.state.lock();
            self.append_locked(&mut state, envelope, record, done)
        };
        run(decided);
    }

    fn append_locked(
        &self,
        state: &mut State,
        envelope: Envelope,
        record: Option<Record>,
        done: AppendDone,
    ) -> Decided {
        let has_room = state.waiting.len() < MAX_WAITING
            && state.waiting_bytes < MAX_WAITING_BYTES
            && state.followers.iter().all(|f| f.has_room());
        if !has_room {
            return vec![(done, Err(AppendError::Busy))];
        }
        let position = state.next;
        let fate = match (record, &self.store) {
            (Some(record), Some(store)) => {
                // Under the lock, so that the store sees the positions in their order.
                let pledge = Pledge::new(self.shared.clone(), position);
                let accepted = pledge.stage.clone();
                let committed = Box::new(move |fate| pledge.keep(fate));
                if store.commit(position, record, committed).is_err() {
                    return vec![(done, Err(AppendError::Busy))];
                }
                let was_dropped = accepted.swap(ACCEPTED, Ordering::AcqRel) == DROPPED;
                was_dropped.then_some(Committed::Failed)
            }
            _ => Some(Committed::Stored),
        };
        state.next += 1;
        let entry = Entry::new(position, envelope);
        state.waiting_bytes += entry.waiting_bytes();
        state.waiting.push_back(Waiting { entry, done, fate });
        state.release()
    }
}

/// Sees to it that a record's fate becomes known even if the store drops its callback: one that never came would stop
/// the log for ever.
struct Pledge {
    shared: Arc<Shared>,
    position: u64,
    stage: Arc<AtomicU8>,
}

/// The store has not taken the record yet.
const OFFERED: u8 = 0;
/// It has; from here on a dropped callback is a failure.
const ACCEPTED: u8 = 1;
/// The callback is gone.
const DROPPED: u8 = 2;

impl Pledge {
    fn new(shared: Arc<Shared>, position: u64) -> Self {
        Self {
            shared,
            position,
            stage: Arc::new(AtomicU8::new(OFFERED)),
        }
    }

    fn keep(self, fate: Committed) {
        self.shared.committed(self.position, fate);
    }
}

impl Drop for Pledge {
    fn drop(&mut self) {
        // While it is only offered the sequencer itself holds the lock, and looks at the stage afterwards.
        if self.stage.swap(DROPPED, Ordering::AcqRel) == ACCEPTED {
            self.shared.committed(self.position, Committed::Failed);
        }
    }
}

impl Shared {
    fn committed(&self, position: u64, fate: Committed) {
        let decided = {
            let mut state = self.state.lock();
            let at = state
                .waiting
                .partition_point(|w| w.entry.position < position);
            let waiting = state.waiting.get_mut(at);
            // The first word counts: a second is the callback being dropped after its work.
            let undecided = waiting.filter(|w| w.entry.position == position && w.fate.is_none());
            if let Some(waiting) = undecided {
                waiting.fate = Some(fate);
            }
            state.release()
        };
        run(decided);
    }
}

impl State {
    /// Hands the decided entries at the front to the followers, in order of position.
    fn release(&mut self) -> Decided {
        let mut decided = Vec::new();
        while self.waiting.front().is_some_and(|w| w.fate.is_some()) {
            let Some(Waiting { entry, done, fate }) = self.waiting.pop_front() else {
                break;
            };
            self.waiting_bytes -= entry.waiting_bytes();
            let position = entry.position;
            let result = match fate {
                Some(Committed::Stored) => {
                    self.hand_over(entry);
                    Ok(Appended {
                        position,
                        is_duplicate: false,
                    })
                }
                Some(Committed::Duplicate { first }) => Ok(Appended {
                    position: first,
                    is_duplicate: true,
                }),
                Some(Committed::Failed | Committed::Unfit) | None => Err(AppendError::NotStored),
            };
            decided.push((done, result));
        }
        decided
    }

    fn hand_over(&self, entry: Entry) {
        let entry = Arc::new(entry);
        for follower in &self.followers {
            follower.push_entry(entry.clone());
        }
    }
}

fn run(decided: Decided) {
    for (done, result) in decided {
        done(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::event::Event;
    use crate::log::{Busy, CommitDone, Target};

    /// A store whose commits the test decides.
    #[derive(Default)]
    struct Scripted {
        asked: Mutex<VecDeque<(u64, CommitDone)>>,
        is_full: bool,
    }

    impl Store for Scripted {
        fn last_position(&self) -> u64 {
            0
        }
        fn commit(&self, position: u64, _: Record, done: CommitDone) -> Result<(), Busy> {
            if self.is_full {
                return Err(Busy);
            }
            self.asked.lock().push_back((position, done));
            Ok(())
        }
    }

    impl Scripted {
        fn decide(&self, fate: Committed) {
            let (_, done) = self.asked.lock().pop_front().unwrap();
            done(fate);
        }
    }

    fn envelope() -> Envelope {
        Envelope {
            target: Target::All,
            except: [].into_iter().collect(),
            event: Event::new("e", &1).unwrap(),
            announced_by: None,
        }
    }

    fn record() -> Option<Record> {
        Some(Record {
            key: [0; 16],
            room: "".into(),
            body: bytes::Bytes::new(),
        })
    }

    type Outcome = (&'static str, Result<Appended, AppendError>);

    fn append(
        sequencer: &Sequencer,
        name: &'static str,
        record: Option<Record>,
        to: &mpsc::Sender<Outcome>,
    ) {
        let to = to.clone();
        let done = Box::new(move |result| to.send((name, result)).unwrap());
        sequencer.append(envelope(), record, done);
    }

    fn stored(position: u64) -> Result<Appended, AppendError> {
        Ok(Appended {
            position,
            is_duplicate: false,
        })
    }

    #[test]
    fn an_event_waits_for_the_commit_of_the_stored_one_before_it() {
        let store = Arc::new(Scripted::default());
        let sequencer = Sequencer::new(10, Some(store.clone()));
        let (to, outcomes) = mpsc::channel();
        append(&sequencer, "stored", record(), &to);
        append(&sequencer, "plain", None, &to);
        assert!(
            outcomes.try_recv().is_err(),
            "nothing is decided before the commit"
        );
        store.decide(Committed::Stored);
        assert_eq!(outcomes.try_recv(), Ok(("stored", stored(10))));
        assert_eq!(outcomes.try_recv(), Ok(("plain", stored(11))));
    }

    #[test]
    fn a_failed_commit_and_a_duplicate_leave_their_positions_empty() {
        let store = Arc::new(Scripted::default());
        let sequencer = Sequencer::new(10, Some(store.clone()));
        let (to, outcomes) = mpsc::channel();
        for name in ["failed", "twice", "fine"] {
            append(&sequencer, name, record(), &to);
        }
        store.decide(Committed::Failed);
        store.decide(Committed::Duplicate { first: 3 });
        store.decide(Committed::Stored);
        assert_eq!(
            outcomes.try_recv(),
            Ok(("failed", Err(AppendError::NotStored)))
        );
        let twice = Ok(Appended {
            position: 3,
            is_duplicate: true,
        });
        assert_eq!(outcomes.try_recv(), Ok(("twice", twice)));
        assert_eq!(outcomes.try_recv(), Ok(("fine", stored(12))));
    }

    #[test]
    fn a_callback_speaks_for_its_own_record_only() {
        let store = Arc::new(Scripted::default());
        let sequencer = Sequencer::new(10, Some(store.clone()));
        let (to, outcomes) = mpsc::channel();
        append(&sequencer, "first", record(), &to);
        append(&sequencer, "second", record(), &to);
        store.decide(Committed::Stored);
        assert_eq!(outcomes.try_recv(), Ok(("first", stored(10))));
        assert!(
            outcomes.try_recv().is_err(),
            "the second is not decided yet"
        );
        store.decide(Committed::Stored);
        assert_eq!(outcomes.try_recv(), Ok(("second", stored(11))));
    }

    #[test]
    fn a_callback_that_the_store_drops_is_a_failed_commit() {
        let store = Arc::new(Scripted::default());
        let sequencer = Sequencer::new(10, Some(store.clone()));
        let (to, outcomes) = mpsc::channel();
        append(&sequencer, "dropped", record(), &to);
        append(&sequencer, "plain", None, &to);
        store.asked.lock().clear();
        assert_eq!(
            outcomes.try_recv(),
            Ok(("dropped", Err(AppendError::NotStored)))
        );
        assert_eq!(outcomes.try_recv(), Ok(("plain", stored(11))));
    }

    #[test]
    fn a_full_store_takes_no_position() {
        let store = Arc::new(Scripted {
            is_full: true,
            ..Scripted::default()
        });
        let sequencer = Sequencer::new(10, Some(store));
        let (to, outcomes) = mpsc::channel();
        append(&sequencer, "refused", record(), &to);
        append(&sequencer, "plain", None, &to);
        assert_eq!(outcomes.try_recv(), Ok(("refused", Err(AppendError::Busy))));
        assert_eq!(outcomes.try_recv(), Ok(("plain", stored(10))));
    }
}
