//! A read model in memory, which commits in its own time.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatcluster_socketio::log::{Busy, CommitDone, Committed, Record, Store};
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use crate::read_model::{ReadModel, ResetError};

use super::world::World;

pub(super) struct Rows {
    world: Arc<World>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    epoch: Option<u64>,
    last: u64,
    rows: BTreeMap<[u8; 16], u64>,
    clear_at: u64,
}

impl Rows {
    pub(super) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            kept: Mutex::default(),
        })
    }
}

impl Store for Rows {
    fn last_position(&self) -> u64 {
        self.kept.lock().last
    }

    fn commit(&self, position: u64, record: Record, done: CommitDone) -> Result<(), Busy> {
        self.world.with(|state| {
            if state.random.one_in(50) {
                return Err(Busy);
            }
            let mut kept = self.kept.lock();
            let first = *kept.rows.entry(record.key).or_insert(position);
            kept.last = kept.last.max(position);
            // The transaction's end, in the order of the calls.
            let took = state.random.below(8) as u64;
            kept.clear_at = kept.clear_at.max(state.now() + took);
            let fate = if first == position {
                Committed::Stored
            } else {
                Committed::Duplicate { first }
            };
            state.at(kept.clear_at, move |_| done(fate));
            Ok(())
        })
    }
}

impl ReadModel for Rows {
    fn epoch(&self) -> Option<u64> {
        self.kept.lock().epoch
    }

    fn reset(&self, epoch: u64) -> BoxFuture<'static, Result<(), ResetError>> {
        let mut kept = self.kept.lock();
        kept.rows.clear();
        (kept.epoch, kept.last) = (Some(epoch), 0);
        Box::pin(ready(Ok(())))
    }

    fn position_of(&self, key: [u8; 16]) -> BoxFuture<'static, Option<u64>> {
        Box::pin(ready(self.kept.lock().rows.get(&key).copied()))
    }

    fn trim(&self, first: u64) {
        self.kept
            .lock()
            .rows
            .retain(|_, position| *position >= first);
    }
}
