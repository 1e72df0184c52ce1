//! What the follower read, in order: into the read model, to the namespaces of this node, and to who waits for an append.
//!
//! One task does it all, so that every namespace sees the positions in their order and nothing between two of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatcluster_socketio::adapter::{Cast, Local};
use chatcluster_socketio::log::{AppendDone, Appended, Committed, Entry, Envelope, Record, Store};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::counters::Counters;
use crate::names::token;

/// Items between the follower and the delivery; beyond it the follower stops reading, and NATS keeps the rest.
pub(crate) const QUEUE: usize = 4096;
/// Items delivered before sockets get a turn to write.
const BATCH: usize = 256;

/// A message of the log, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) envelope: Envelope,
    /// What the read model keeps of it.
    pub(crate) record: Option<Record>,
}

/// What the follower hands on.
pub(crate) enum Item {
    /// The message at the next position; `None` if it cannot be read.
    Message {
        position: u64,
        /// The namespace's token.
        namespace: Box<str>,
        logged: Option<Box<Logged>>,
        age: Duration,
    },
    /// The log goes on after a position; what lies between is lost to this node.
    Restart { epoch: u64, position: u64 },
    /// A cast of this node, behind what it had appended.
    Own { namespace: Box<str>, cast: Cast },
}

struct State {
    /// Handed to its namespace, or about to be.
    delivered: u64,
    /// Handed over and done with.
    completed: u64,
    epoch: u64,
    namespaces: HashMap<Box<str>, Weak<dyn Local>>,
    /// Who waits for a position to be completed.
    waiting: BTreeMap<u64, Vec<(Appended, AppendDone)>>,
}

/// The delivering end of one node's log.
pub(crate) struct Pipeline {
    state: Mutex<State>,
    stores: HashMap<Box<str>, Arc<dyn Store>>,
    completed: watch::Sender<u64>,
    counters: Arc<Counters>,
}

impl Pipeline {
    /// A pipeline that has delivered everything up to `position`. `stores` are the read models by namespace.
    pub(crate) fn new(
        epoch: u64,
        position: u64,
        stores: &HashMap<String, Arc<dyn Store>>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let stores = stores
            .iter()
            .map(|(name, store)| (token(name).into(), store.clone()));
        Arc::new(Self {
            state: Mutex::new(State {
                delivered: position,
                completed: position,
                epoch,
                namespaces: HashMap::new(),
                waiting: BTreeMap::new(),
            }),
            stores: stores.collect(),
            completed: watch::Sender::new(position),
            counters,
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// The position up to which everything has been delivered.
    pub(crate) fn completed(&self) -> watch::Receiver<u64> {
        self.completed.subscribe()
    }

    /// Delivers to a namespace from here on; returns the position before the first that it is given.
    pub(crate) fn follow(&self, namespace: &str, local: Weak<dyn Local>) -> u64 {
        let mut state = self.state.lock();
        state.namespaces.insert(token(namespace).into(), local);
        state.delivered
    }

    pub(crate) fn unfollow(&self, namespace: &str) {
        self.state
            .lock()
            .namespaces
            .remove(token(namespace).as_str());
    }

    /// Calls back once this node has delivered what was appended.
    pub(crate) fn when_completed(&self, appended: Appended, done: AppendDone) {
        {
            let mut state = self.state.lock();
            if appended.position > state.completed {
                let waiting = state.waiting.entry(appended.position).or_default();
                return waiting.push((appended, done));
            }
        }
        done(Ok(appended));
    }

    /// Delivers until the follower has ended.
    pub(crate) async fn run(self: Arc<Self>, mut items: mpsc::Receiver<Item>) {
        let mut decided = mpsc::channel::<Submitted>(QUEUE);
        let submitting = async {
            while let Some(item) = items.recv().await {
                let submitted = self.submit(item).await;
                if decided.0.send(submitted).await.is_err() {
                    return;
                }
            }
            drop(decided.0);
        };
        let delivering = async {
            let mut batch = Vec::with_capacity(BATCH);
            while decided.1.recv_many(&mut batch, BATCH).await > 0 {
                for submitted in batch.drain(..) {
                    self.deliver(submitted).await;
                }
                self.advance();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(submitting, delivering);
        self.fail_waiting();
    }

    /// Gives a record to the read model, which commits in its own time; what follows it need not wait here.
    async fn submit(&self, item: Item) -> Submitted {
        let Item::Message {
            position,
            namespace,
            logged: Some(logged),
            age,
        } = item
        else {
            return Submitted { item, fate: None };
        };
        let store = self.stores.get(&namespace);
        let fate = match (store, &logged.record) {
            (Some(store), Some(record)) => Some(commit(store, position, record).await),
            _ => None,
        };
        let item = Item::Message {
            position,
            namespace,
            logged: Some(logged),
            age,
        };
        Submitted { item, fate }
    }

    async fn deliver(&self, Submitted { item, fate }: Submitted) {
        let (position, namespace, logged, age) = match item {
            Item::Message {
                position,
                namespace,
                logged,
                age,
            } => (position, namespace, logged, age),
            Item::Restart { epoch, position } => return self.restart(epoch, position),
            Item::Own { namespace, cast } => {
                if let Some(local) = self.local(&namespace) {
                    local.receive(cast);
                }
                return;
            }
        };
        let fate = match fate {
            // A read model that is gone is noticed by its owner; the log goes on.
            Some(fate) => fate.await.unwrap_or(Committed::Failed),
            None => Committed::Stored,
        };
        let local = {
            let mut state = self.state.lock();
            state.delivered = position;
            state.namespaces.get(&namespace).and_then(Weak::upgrade)
        };
        match (fate, logged, local) {
            // The row with the lower position wins, on every node alike: the later one reaches nobody (semantics 12). A
            // node that reads on after a restart finds its own rows there: they are no duplicates.
            (Committed::Duplicate { first }, ..) if first != position => {
                return self.complete(position, Some(first));
            }
            (_, Some(logged), Some(local)) => {
                self.counters.entries_delivered.increment();
                let entry = Entry::aged(position, logged.envelope, age);
                local.deliver(&Arc::new(entry));
            }
            (_, None, _) => self.counters.unreadable_messages.increment(),
            (_, Some(_), None) => self.counters.entries_foreign.increment(),
        }
        self.complete(position, None);
    }

    fn local(&self, namespace: &str) -> Option<Arc<dyn Local>> {
        self.state.lock().namespaces.get(namespace)?.upgrade()
    }

    /// A position is done with: whoever appended it is told.
    fn complete(&self, position: u64, first: Option<u64>) {
        let done = {
            let mut state = self.state.lock();
            state.completed = position;
            let later = state.waiting.split_off(&(position + 1));
            std::mem::replace(&mut state.waiting, later)
        };
        for (mut appended, done) in done.into_values().flatten() {
            if let (Some(first), true) = (first, appended.position == position) {
                appended = Appended {
                    position: first,
                    is_duplicate: true,
                };
            }
            done(Ok(appended));
        }
    }

    /// Tells every namespace how far the log has been read: positions of other namespaces are passed, too.
    fn advance(&self) {
        let (completed, locals) = {
            let state = self.state.lock();
            (state.completed, locals(&state))
        };
        for local in locals {
            local.advance(completed);
        }
        self.completed.send_replace(completed);
    }

    fn restart(&self, epoch: u64, position: u64) {
        self.counters.restarts.increment();
        let (locals, waiting) = {
            let mut state = self.state.lock();
            state.epoch = epoch;
            state.delivered = position;
            state.completed = position;
            (locals(&state), std::mem::take(&mut state.waiting))
        };
        for local in locals {
            local.restart(epoch, position);
        }
        // They are in the log; that this node could not read them on is no reason to say otherwise.
        for (appended, done) in waiting.into_values().flatten() {
            done(Ok(appended));
        }
        self.completed.send_replace(position);
    }

    /// The node leaves: what was appended is in the log, whether or not it has been seen here.
    fn fail_waiting(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for (appended, done) in waiting.into_values().flatten() {
            done(Ok(appended));
        }
    }
}

fn locals(state: &State) -> Vec<Arc<dyn Local>> {
    state
        .namespaces
        .values()
        .filter_map(Weak::upgrade)
        .collect()
}

/// An item whose record, if it has one, is with the read model.
struct Submitted {
    item: Item,
    fate: Option<oneshot::Receiver<Committed>>,
}

/// How long to wait when the read model's queue is full.
const BUSY: Duration = Duration::from_millis(5);

async fn commit(
    store: &Arc<dyn Store>,
    position: u64,
    record: &Record,
) -> oneshot::Receiver<Committed> {
    loop {
        let (sender, fate) = oneshot::channel();
        let done = Box::new(move |committed| {
            // The pipeline may have ended.
            let _gone = sender.send(committed);
        });
        if store.commit(position, record.clone(), done).is_ok() {
            return fate;
        }
        tokio::time::sleep(BUSY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatcluster_harness::within;
    use chatcluster_socketio::Event;
    use chatcluster_socketio::adapter::{Answer, Request};
    use chatcluster_socketio::log::{Busy, CommitDone, Target};
    use futures_util::future::BoxFuture;

    /// A read model that has these rows from before, by key.
    struct Rows(Mutex<HashMap<[u8; 16], u64>>);

    impl Store for Rows {
        fn last_position(&self) -> u64 {
            0
        }
        fn commit(&self, position: u64, record: Record, done: CommitDone) -> Result<(), Busy> {
            let first = *self.0.lock().entry(record.key).or_insert(position);
            let is_new = !matches!(first, 1..=2) && first == position;
            done(if is_new {
                Committed::Stored
            } else {
                Committed::Duplicate { first }
            });
            Ok(())
        }
    }

    /// Notes what it is delivered.
    #[derive(Default)]
    struct Notes(Mutex<Vec<u64>>);

    impl Local for Notes {
        fn deliver(&self, entry: &Arc<Entry>) {
            self.0.lock().push(entry.position);
        }
        fn advance(&self, _: u64) {}
        fn restart(&self, _: u64, _: u64) {}
        fn receive(&self, _: Cast) {}
        fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Answer> {
            Box::pin(std::future::pending())
        }
    }

    fn message(position: u64, key: u8) -> Item {
        let envelope = Envelope {
            target: Target::All,
            except: [].into_iter().collect(),
            event: Event::new("e", &position).unwrap(),
            announced_by: None,
        };
        let record = Record {
            key: [key; 16],
            room: "".into(),
            body: "{}".into(),
        };
        let logged = Logged {
            envelope,
            record: Some(record),
        };
        Item::Message {
            position,
            namespace: token("/").into(),
            logged: Some(Box::new(logged)),
            age: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn own_rows_read_again_are_delivered_and_later_duplicates_are_not() {
        let rows = Rows(Mutex::new(HashMap::from([([1; 16], 1), ([2; 16], 2)])));
        let stores = HashMap::from([("/".to_owned(), Arc::new(rows) as Arc<dyn Store>)]);
        let pipeline = Pipeline::new(1, 0, &stores, Arc::default());
        let notes = Arc::new(Notes::default());
        let local: Arc<dyn Local> = notes.clone();
        pipeline.follow("/", Arc::downgrade(&local));
        let (items, received) = mpsc::channel(QUEUE);
        for (position, key) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 5)] {
            items.send(message(position, key)).await.unwrap();
        }
        drop(items);
        within("the end of the log", pipeline.run(received)).await;
        assert_eq!(*notes.0.lock(), [1, 2, 3, 5]);
    }
}
