//! Sessions of one process, in a map; expired ones are dropped as others come and go.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::session::{Record, Revision, Sessions, StoreError};
use crate::sid::SessionKey;

#[derive(Default)]
pub(super) struct MemorySessions {
    state: Mutex<State>,
}

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
    fn next_revision(&mut self) -> Revision {
        self.last_revision += 1;
        self.last_revision
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

    /// The session if it is alive and its revision is still the expected one.
    fn owned(&mut self, key: SessionKey, expected: Revision) -> Result<&mut Stored, StoreError> {
        self.sweep(Instant::now());
        let stored = self.sessions.get_mut(&key).ok_or(StoreError::Gone)?;
        if stored.revision == expected {
            Ok(stored)
        } else {
            Err(StoreError::Fenced)
        }
    }
}

impl Sessions for MemorySessions {
    fn create(
        &self,
        key: SessionKey,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let mut state = self.state.lock();
        state.sweep(Instant::now());
        let revision = state.next_revision();
        let stored = Stored {
            record,
            revision,
            expires_at: None,
        };
        state.sessions.insert(key, stored);
        Box::pin(ready(Ok(revision)))
    }

    fn get(&self, key: SessionKey) -> BoxFuture<'_, Result<(Record, Revision), StoreError>> {
        let mut state = self.state.lock();
        state.sweep(Instant::now());
        let found = state
            .sessions
            .get(&key)
            .map(|s| (s.record.clone(), s.revision));
        Box::pin(ready(found.ok_or(StoreError::Gone)))
    }

    fn update(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
    ) -> BoxFuture<'_, Result<Revision, StoreError>> {
        let mut state = self.state.lock();
        let revision = state.next_revision();
        let updated = state.owned(key, expected).map(|stored| {
            *stored = Stored {
                record,
                revision,
                expires_at: None,
            };
            revision
        });
        Box::pin(ready(updated))
    }

    fn expire(
        &self,
        key: SessionKey,
        expected: Revision,
        record: Record,
        window: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut state = self.state.lock();
        let at = Instant::now() + window;
        let expired = state.owned(key, expected).map(|stored| {
            stored.record = record;
            stored.expires_at = Some(at);
        });
        if expired.is_ok() {
            state.expiries.push_back((at, key));
        }
        Box::pin(ready(expired))
    }

    fn remove(&self, key: SessionKey, expected: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut state = self.state.lock();
        let owned = state.owned(key, expected).map(|_| ());
        if owned.is_ok() {
            state.sessions.remove(&key);
        }
        Box::pin(ready(owned))
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
            data: "".into(),
            overflowed_at: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_owner_is_fenced() {
        let sessions = MemorySessions::default();
        let key = Pid::random().key();
        let first = sessions.create(key, record()).await.unwrap();
        let second = sessions.update(key, first, record()).await.unwrap();
        assert_eq!(
            sessions.update(key, first, record()).await,
            Err(StoreError::Fenced)
        );
        assert_eq!(sessions.remove(key, first).await, Err(StoreError::Fenced));
        assert_eq!(
            sessions.expire(key, first, record(), Duration::ZERO).await,
            Err(StoreError::Fenced)
        );
        assert!(sessions.remove(key, second).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_gone_after_the_window_unless_it_was_taken_over() {
        let sessions = MemorySessions::default();
        let (left, taken) = (Pid::random().key(), Pid::random().key());
        for key in [left, taken] {
            let revision = sessions.create(key, record()).await.unwrap();
            sessions
                .expire(key, revision, record(), Duration::from_secs(10))
                .await
                .unwrap();
        }
        let (_, revision) = sessions.get(taken).await.unwrap();
        sessions.update(taken, revision, record()).await.unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(sessions.get(left).await.is_err());
        assert!(sessions.get(taken).await.is_ok());
        assert_eq!(sessions.state.lock().sessions.len(), 1);
    }
}
