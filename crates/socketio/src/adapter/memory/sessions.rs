//! Sessions of one process, in a map; expired ones are dropped as others come and go.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use crate::session::{Record, Revision, Sessions, StoreError};
use crate::sid::SessionKey;

/// Sessions that may wait for their clients; beyond it the one that has waited longest is given up.
const MAX_AWAY: usize = 100_000;

#[derive(Default)]
pub(super) struct MemorySessions(Mutex<State>);

/// The map, with the time given from outside.
#[derive(Default)]
struct State {
    sessions: HashMap<SessionKey, Stored>,
    /// In order of time: the window is the same for all.
    expiries: VecDeque<(Instant, SessionKey)>,
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
        self.sessions.insert(key, stored);
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
        stored.expires_at = Some(at);
        self.expiries.push_back((at, key));
        if self.expiries.len() > MAX_AWAY {
            self.drop_oldest();
        }
        Ok(())
    }

    fn remove(&mut self, key: SessionKey, expected: Revision) -> Result<(), StoreError> {
        self.owned(key, expected)?;
        self.sessions.remove(&key);
        Ok(())
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
        if let Some((at, key)) = self.expiries.pop_front()
            && self
                .sessions
                .get(&key)
                .is_some_and(|s| s.expires_at == Some(at))
        {
            self.sessions.remove(&key);
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
                self.sessions.remove(&key);
            }
        }
    }
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

    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
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

    fn remove(&self, key: SessionKey, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.at_once(|state| state.remove(key, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sid::{NodeId, Pid, Sid};

    fn record() -> Record {
        Record {
            sid: Sid::random(),
            identity: None,
            owner: NodeId::new("a"),
            epoch: 1,
            start: 0,
            intervals: Vec::new(),
            gap_below: 0,
            is_connected: true,
            is_caught_up: true,
            is_untouched: false,
            data: "".into(),
            overflowed_at: None,
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
}
