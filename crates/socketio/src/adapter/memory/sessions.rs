//! Sessions of one process, in a map; expired ones are dropped as others come and go.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use crate::session::{Record, Revision, Sessions, StoreError};
use crate::sid::SessionKey;

/// Sessions that may wait for their clients; beyond it the one that has waited longest is given up.
const MAX_AWAY: usize = 100_000;
/// Entries of sessions that did not wait to the end, beyond as many as wait, before they are cleared away.
const MAX_STALE: usize = 1024;

#[derive(Default)]
pub(super) struct MemorySessions(Mutex<State>);

/// The map, with the time given from outside.
#[derive(Default)]
struct State {
    sessions: HashMap<SessionKey, Stored>,
    /// In order of time: the window is the same for all. Sessions that came back leave theirs behind.
    expiries: VecDeque<(Instant, SessionKey)>,
    /// Sessions that wait now.
    away: usize,
    last_revision: Revision,
}

struct Stored {
    record: Record,
    revision: Revision,
    expires_at: Option<Instant>,
}

impl State {
    fn put(&mut self, key: SessionKey, record: Record) -> Revision {
        self.last_revision += 1;
        let stored = Stored {
            record,
            revision: self.last_revision,
            expires_at: None,
        };
        let replaced = self.sessions.insert(key, stored);
        self.note_gone(replaced.as_ref());
        self.last_revision
    }

    fn get(&self, key: SessionKey) -> Result<(Record, Revision), StoreError> {
        let stored = self.sessions.get(&key).ok_or(StoreError::Gone)?;
        Ok((stored.record.clone(), stored.revision))
    }

    fn update(
        &mut self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> Result<Revision, StoreError> {
        self.owned(key, expected)?;
        Ok(self.put(key, record))
    }

    fn expire(
        &mut self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        at: Instant,
    ) -> Result<(), StoreError> {
        let stored = self.owned(key, expected)?;
        stored.record = record;
        let was_away = stored.expires_at.replace(at).is_some();
        self.away += usize::from(!was_away);
        self.expiries.push_back((at, key));
        if self.away > MAX_AWAY {
            self.drop_oldest();
        }
        if self.expiries.len() > 2 * self.away + MAX_STALE {
            let sessions = &self.sessions;
            self.expiries.retain(|entry| waits(sessions, entry));
        }
        Ok(())
    }

    fn remove(&mut self, key: SessionKey, expected: Revision) -> Result<(), StoreError> {
        self.owned(key, expected)?;
        self.forget(key);
        Ok(())
    }

    fn forget(&mut self, key: SessionKey) {
        let gone = self.sessions.remove(&key);
        self.note_gone(gone.as_ref());
    }

    fn note_gone(&mut self, stored: Option<&Stored>) {
        self.away -= usize::from(stored.is_some_and(|s| s.expires_at.is_some()));
    }

    /// The session if it is alive and its revision is still the expected one.
    fn owned(&mut self, key: SessionKey, expected: Revision) -> Result<&mut Stored, StoreError> {
        let stored = self.sessions.get_mut(&key).ok_or(StoreError::Gone)?;
        if stored.revision == expected {
            Ok(stored)
        } else {
            Err(StoreError::Fenced)
        }
    }

    fn drop_oldest(&mut self) {
        while let Some(entry) = self.expiries.pop_front() {
            if waits(&self.sessions, &entry) {
                return self.forget(entry.1);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        while let Some((at, key)) = self.expiries.front().copied() {
            if at > now {
                break;
            }
            self.expiries.pop_front();
            let is_expired = |s: &Stored| s.expires_at.is_some_and(|at| at <= now);
            if self.sessions.get(&key).is_some_and(is_expired) {
                self.forget(key);
            }
        }
    }
}

/// True if the session still waits for this end.
fn waits(sessions: &HashMap<SessionKey, Stored>, (at, key): &(Instant, SessionKey)) -> bool {
    sessions.get(key).is_some_and(|s| s.expires_at == Some(*at))
}

impl MemorySessions {
    /// Does one thing to the sessions that are alive now.
    fn at_once<T: Send + 'static>(&self, act: impl FnOnce(&mut State) -> T) -> BoxFuture<'_, T> {
        let mut state = self.0.lock();
        state.sweep(Instant::now());
        Box::pin(ready(act(&mut state)))
    }
}

impl Sessions for MemorySessions {
    fn create(
        &self,
        key: SessionKey,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.at_once(|state| Ok(state.put(key, record)))
    }

    fn get(&self, key: SessionKey) -> BoxFuture<'_, Result<(Record, Revision), StoreError>> {
        self.at_once(|state| state.get(key))
    }

    fn take(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.at_once(|state| state.update(key, expected, record))
    }

    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        // In one process nobody is taken for gone.
        self.at_once(|state| state.update(key, expected, record))
    }

    fn expire(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        window: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.at_once(|state| state.expire(key, expected, record, Instant::now() + window))
    }

    fn remove(
        &self,
        key: SessionKey,
        expected: Revision,
        _takeovers: u32,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.at_once(|state| state.remove(key, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Quiet;
    use crate::sid::{NodeId, Pid, Sid};

    fn record() -> Record {
        Record {
            sid: Sid::random(),
            identity: None,
            owner: NodeId::new("a"),
            takeovers: 0,
            epoch: 1,
            start: 0,
            intervals: Vec::new(),
            gap_below: 0,
            is_connected: true,
            is_caught_up: true,
            is_untouched: false,
            data: "".into(),
            overflowed_at: None,
            quiet: Quiet::default(),
            ended: None,
        }
    }

    #[test]
    fn a_stale_owner_is_fenced() {
        let mut state = State::default();
        let key = Pid::random().key();
        let first = state.put(key, record());
        let second = state.update(key, first, record()).unwrap();
        assert_eq!(state.update(key, first, record()), Err(StoreError::Fenced));
        assert_eq!(state.remove(key, first), Err(StoreError::Fenced));
        assert_eq!(
            state.expire(key, first, record(), Instant::now()),
            Err(StoreError::Fenced)
        );
        assert!(state.remove(key, second).is_ok());
        assert_eq!(state.remove(key, second), Err(StoreError::Gone));
    }

    #[test]
    fn a_session_is_gone_after_the_window_unless_it_was_taken_over() {
        let mut state = State::default();
        let (left, taken) = (Pid::random().key(), Pid::random().key());
        let end = Instant::now() + Duration::from_secs(10);
        for key in [left, taken] {
            let revision = state.put(key, record());
            state.expire(key, revision, record(), end).unwrap();
        }
        let (_, revision) = state.get(taken).unwrap();
        state.update(taken, revision, record()).unwrap();
        state.sweep(end + Duration::from_secs(1));
        assert!(state.get(left).is_err());
        assert!(state.get(taken).is_ok());
        assert_eq!(state.sessions.len(), 1);
        assert!(state.expiries.is_empty());
    }

    #[test]
    fn a_session_that_comes_and_goes_pushes_nobody_out() {
        let mut state = State::default();
        let (waiting, flapping) = (Pid::random().key(), Pid::random().key());
        let end = Instant::now() + Duration::from_secs(3600);
        let revision = state.put(waiting, record());
        state.expire(waiting, revision, record(), end).unwrap();
        let mut revision = state.put(flapping, record());
        for time in 0..MAX_AWAY as u32 + 10 {
            let end = end + Duration::from_millis(1) * time;
            state.expire(flapping, revision, record(), end).unwrap();
            revision = state.update(flapping, revision, record()).unwrap();
        }
        assert!(state.get(waiting).is_ok());
        assert_eq!(state.away, 1);
        assert!(
            state.expiries.len() <= MAX_STALE + 4,
            "{}",
            state.expiries.len()
        );
    }

    #[test]
    fn beyond_the_bound_who_has_waited_longest_is_given_up() {
        let mut state = State::default();
        let end = Instant::now() + Duration::from_secs(3600);
        let keys: Vec<_> = (0..=MAX_AWAY).map(|_| Pid::random().key()).collect();
        for key in &keys {
            let revision = state.put(*key, record());
            state.expire(*key, revision, record(), end).unwrap();
        }
        assert!(state.get(keys[0]).is_err());
        assert!(state.get(keys[1]).is_ok());
        assert_eq!(state.away, MAX_AWAY);
    }
}
