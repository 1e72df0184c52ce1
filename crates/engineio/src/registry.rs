//! The open sessions by id, and the last words of closed ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::session::{SendQueue, Session};
use crate::sid::{BuildSidHasher, Sid};

const SHARDS: usize = 16;

type Shard = Mutex<HashMap<Sid, Arc<Session>, BuildSidHasher>>;

/// The open sessions by id, in shards so that handshakes on many cores do not wait for each other.
#[derive(Default)]
pub(crate) struct Registry {
    shards: [Shard; SHARDS],
    count: AtomicUsize,
}

impl Registry {
    pub(crate) fn insert(&self, session: &Arc<Session>) {
        let shard = &self.shards[session.id().shard(SHARDS)];
        if shard
            .lock()
            .insert(*session.id(), Arc::clone(session))
            .is_none()
        {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, sid: &Sid) -> Option<Arc<Session>> {
        self.shards[sid.shard(SHARDS)].lock().get(sid).cloned()
    }

    pub(crate) fn remove(&self, sid: &Sid) -> Option<Arc<Session>> {
        let removed = self.shards[sid.shard(SHARDS)].lock().remove(sid);
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        let mut sessions = Vec::with_capacity(self.len());
        for shard in &self.shards {
            sessions.extend(shard.lock().values().cloned());
        }
        sessions
    }
}

/// What long-polling sessions that the server closed had left to say. The next GET fetches it, or time takes it.
#[derive(Default)]
pub(crate) struct Farewells(Mutex<HashMap<Sid, SendQueue, BuildSidHasher>>);

impl Farewells {
    pub(crate) fn insert(&self, sid: Sid, queue: SendQueue) {
        self.0.lock().insert(sid, queue);
    }

    pub(crate) fn remove(&self, sid: &Sid) {
        self.0.lock().remove(sid);
    }

    /// Lets `take` have the queue; `take` says whether anything remains for another GET.
    pub(crate) fn take_from<T>(
        &self,
        sid: &Sid,
        take: impl FnOnce(&mut SendQueue) -> (T, bool),
    ) -> Option<T> {
        let mut farewells = self.0.lock();
        let (taken, has_more) = take(farewells.get_mut(sid)?);
        if !has_more {
            farewells.remove(sid);
        }
        Some(taken)
    }
}

/// How many sessions and tasks there are, so that the end of all can be awaited.
#[derive(Default)]
pub(crate) struct Live {
    count: AtomicUsize,
    gone: Notify,
}

impl Live {
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.gone.notify_waiters();
        }
    }

    pub(crate) async fn none(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            // Registered before the count is read, so that the last one cannot leave unseen in between.
            gone.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            gone.await;
        }
    }
}
