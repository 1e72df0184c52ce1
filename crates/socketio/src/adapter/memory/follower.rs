//! One node's place behind the sequencer: a queue of released entries and the task that delivers them in order.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::adapter::{Cast, Local};
use crate::log::{AppendDone, Appended, Entry};

/// Items and bytes that may wait for a node; beyond either the sequencer refuses appends (`Busy`).
const MAX_QUEUED_ENTRIES: usize = 1 << 16;
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Casts are at most once: beyond this many waiting items new ones are dropped.
const MAX_QUEUED_CASTS: usize = 1 << 17;
/// Items delivered before sockets get a turn to write.
const BATCH: usize = 256;

enum Item {
    Entry(Arc<Entry>),
    Cast(Cast),
    /// An append of this node, whose entry is in front of it.
    Decided(Appended, AppendDone),
}

pub(super) struct Follower {
    queue: Mutex<VecDeque<Item>>,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    is_closed: AtomicBool,
    wake: Notify,
}

impl Follower {
    /// Starts the delivery task on the current runtime; it ends with [`Follower::close`] or with the namespace.
    pub(super) fn spawn(local: Weak<dyn Local>) -> Arc<Self> {
        let follower = Arc::new(Self {
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            wake: Notify::new(),
        });
        tokio::spawn(follower.clone().run(local));
        follower
    }

    pub(super) fn has_room(&self) -> bool {
        self.queued.load(Ordering::Relaxed) < MAX_QUEUED_ENTRIES
            && self.queued_bytes.load(Ordering::Relaxed) < MAX_QUEUED_BYTES
    }

    /// Called under the sequencer's lock, in order of position.
    pub(super) fn push_entry(&self, entry: Arc<Entry>) {
        self.queued_bytes
            .fetch_add(entry.waiting_bytes(), Ordering::Relaxed);
        self.push(Item::Entry(entry));
    }

    pub(super) fn push_decided(&self, appended: Appended, done: AppendDone) {
        self.push(Item::Decided(appended, done));
    }

    pub(super) fn push_cast(&self, cast: Cast) {
        // An eviction is never dropped: it is what keeps one session on one node.
        let is_droppable = !matches!(cast, Cast::Evict { .. });
        if is_droppable && self.queued.load(Ordering::Relaxed) >= MAX_QUEUED_CASTS {
            tracing::warn!("a cast was dropped: this node is too slow for the traffic");
            return;
        }
        self.push(Item::Cast(cast));
    }

    fn push(&self, item: Item) {
        let was_empty = {
            let mut queue = self.queue.lock();
            queue.push_back(item);
            self.queued.store(queue.len(), Ordering::Relaxed);
            queue.len() == 1
        };
        if was_empty {
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    async fn run(self: Arc<Self>, local: Weak<dyn Local>) {
        while !self.is_closed.load(Ordering::Relaxed) {
            let batch = self.take_batch();
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let Some(local) = local.upgrade() else {
                return;
            };
            for item in batch {
                self.hand_over(&*local, item);
            }
            tokio::task::yield_now().await;
        }
        self.tell_decided();
    }

    /// Delivery has ended; what was decided is still said.
    fn tell_decided(&self) {
        let left = std::mem::take(&mut *self.queue.lock());
        for item in left {
            if let Item::Decided(appended, done) = item {
                done(Ok(appended));
            }
        }
    }

    /// One item must not end the delivery of all others: a panic, which can only be the application's, is logged.
    fn hand_over(&self, local: &dyn Local, item: Item) {
        let handed = std::panic::catch_unwind(AssertUnwindSafe(|| match item {
            Item::Entry(entry) => {
                self.queued_bytes
                    .fetch_sub(entry.waiting_bytes(), Ordering::Relaxed);
                local.deliver(&entry);
            }
            Item::Cast(cast) => local.receive(cast),
            Item::Decided(appended, done) => done(Ok(appended)),
        }));
        if handed.is_err() {
            tracing::error!("a callback of the log panicked");
        }
    }

    fn take_batch(&self) -> VecDeque<Item> {
        let mut queue = self.queue.lock();
        let batch = if queue.len() <= BATCH {
            std::mem::take(&mut *queue)
        } else {
            queue.drain(..BATCH).collect()
        };
        self.queued.store(queue.len(), Ordering::Relaxed);
        // What stays behind needs no further wake-up: this task comes back by itself.
        batch
    }
}
