//! A gate before a node: what the cluster gives it can be held back, and its answers withheld. Works over any adapter.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chatcluster_socketio::adapter::{
    Adapter, Answer, Answers, Cast, Cluster, Local, Request, Swept,
};
use chatcluster_socketio::log::{AppendDone, AppendError, Appended, Entry, Envelope, Record};
use chatcluster_socketio::session::{Sessions, StoreError};
use chatcluster_socketio::{Delivery, NodeId, NotRecovered};
use futures_util::future::BoxFuture;

/// Holds back what a node's adapter delivers. A node behind a closed gate lags; it does not know that it does.
#[derive(Clone, Default)]
pub struct Gate(Arc<State>);

#[derive(Default)]
struct State {
    is_mute: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    is_closed: bool,
    /// Somebody works the items off; what comes meanwhile follows them.
    is_draining: bool,
    items: VecDeque<Item>,
}

type Item = Box<dyn FnOnce() + Send>;

impl Gate {
    /// From now on the node is delivered nothing; what comes is kept in order.
    pub fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Delivers what was held back.
    pub fn open(&self) {
        let mut queue = self.lock();
        queue.is_closed = false;
        if std::mem::replace(&mut queue.is_draining, true) {
            return;
        }
        while let Some(item) = queue.items.pop_front() {
            drop(queue);
            item();
            queue = self.lock();
        }
        queue.is_draining = false;
    }

    /// From now on the node answers no request of other nodes.
    pub fn mute(&self) {
        self.0.is_mute.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, item: impl FnOnce() + Send + 'static) {
        let mut queue = self.lock();
        if queue.is_closed || queue.is_draining {
            queue.items.push_back(Box::new(item));
        } else {
            drop(queue);
            item();
        }
    }
}

pub(crate) struct GatedCluster {
    inner: Arc<dyn Cluster>,
    gate: Gate,
}

impl GatedCluster {
    pub(crate) fn new(inner: Arc<dyn Cluster>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl Cluster for GatedCluster {
    fn open(
        &self,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Arc<dyn Adapter> {
        let gate = self.gate.clone();
        let local: Arc<dyn Local> = Arc::new(GatedLocal { local, gate });
        Arc::new(GatedAdapter {
            inner: self.inner.open(namespace, delivery, Arc::downgrade(&local)),
            gate: self.gate.clone(),
            _local: local,
        })
    }
}

struct GatedLocal {
    local: Weak<dyn Local>,
    gate: Gate,
}

impl Local for GatedLocal {
    fn deliver(&self, entry: &Arc<Entry>) {
        let (local, entry) = (self.local.clone(), entry.clone());
        self.gate.pass(move || {
            if let Some(local) = local.upgrade() {
                local.deliver(&entry);
            }
        });
    }

    fn advance(&self, position: u64) {
        let local = self.local.clone();
        self.gate.pass(move || {
            if let Some(local) = local.upgrade() {
                local.advance(position);
            }
        });
    }

    fn has_members(&self) -> bool {
        let local = self.local.upgrade();
        local.is_some_and(|local| local.has_members())
    }

    fn members(&self) -> usize {
        self.local.upgrade().map_or(0, |local| local.members())
    }

    fn restart(&self, epoch: u64, position: u64) {
        let local = self.local.clone();
        self.gate.pass(move || {
            if let Some(local) = local.upgrade() {
                local.restart(epoch, position);
            }
        });
    }

    fn receive(&self, cast: Cast) {
        let local = self.local.clone();
        self.gate.pass(move || {
            if let Some(local) = local.upgrade() {
                local.receive(cast);
            }
        });
    }

    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Answer> {
        let local = self.local.upgrade();
        match local {
            Some(local) if !self.gate.0.is_mute.load(Ordering::Relaxed) => local.answer(request),
            _ => Box::pin(std::future::pending()),
        }
    }

    fn assert(self: Arc<Self>, swept: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
        match self.local.upgrade() {
            Some(local) => local.assert(swept),
            None => Box::pin(std::future::ready(Ok(false))),
        }
    }
}

struct GatedAdapter {
    inner: Arc<dyn Adapter>,
    gate: Gate,
    _local: Arc<dyn Local>,
}

impl Adapter for GatedAdapter {
    fn node(&self) -> &NodeId {
        self.inner.node()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn start_position(&self) -> u64 {
        self.inner.start_position()
    }

    fn read_log(
        &self,
        after: u64,
        through: u64,
    ) -> BoxFuture<'static, Result<Vec<Arc<Entry>>, NotRecovered>> {
        self.inner.read_log(after, through)
    }

    fn opened(&self) -> BoxFuture<'static, ()> {
        self.inner.opened()
    }

    fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        let gate = self.gate.clone();
        // The contract: told after its own entry was delivered here.
        let told = move |result: Result<Appended, AppendError>| match result {
            Ok(_) => gate.pass(move || done(result)),
            Err(_) => done(result),
        };
        self.inner.append(envelope, record, Box::new(told));
    }

    fn cast(&self, cast: Cast) {
        self.inner.cast(cast);
    }

    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers> {
        self.inner.request(request, timeout)
    }

    fn node_count(&self) -> usize {
        self.inner.node_count()
    }

    fn members_elsewhere(&self) -> usize {
        self.inner.members_elsewhere()
    }

    fn sessions(&self) -> &dyn Sessions {
        self.inner.sessions()
    }

    fn close(&self) {
        self.inner.close();
    }
}
