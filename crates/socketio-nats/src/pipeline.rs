//! What the follower read, in order: into the read model, to the namespaces of this node, and to who waits for an append.
//!
//! One task does it all, so that every namespace sees the positions in their order and nothing between two of them.

mod content;
mod item;
mod progress;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatcluster_socketio::adapter::Local;
use chatcluster_socketio::log::{AppendDone, Appended, Committed, Unpack};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::appends::{Appends, duplicate_of, tell};
use crate::counters::Counters;
use crate::names::token;
use crate::read_model::{ReadModel, commit, try_commit};

pub(crate) use content::Content;
pub(crate) use item::{Item, Logged};
pub(crate) use progress::Progress;

use content::unpack;
use item::Submitted;

/// Items between the follower and the delivery; beyond it the follower stops reading, and NATS keeps the rest.
pub(crate) const QUEUE: usize = 4096;
/// Between two attempts to store what could not be stored.
const RETRY: Duration = Duration::from_millis(250);
/// Items delivered before sockets get a turn to write.
const BATCH: usize = 256;

struct State {
    /// Handed to its namespace, or about to be.
    delivered: u64,
    /// Handed over and done with, and who waits for that.
    appends: Appends,
    epoch: u64,
    namespaces: BTreeMap<Box<str>, Weak<dyn Local>>,
}

/// The delivering end of one node's log.
pub(crate) struct Pipeline {
    state: Mutex<State>,
    read_models: HashMap<Box<str>, Arc<dyn ReadModel>>,
    progress: watch::Sender<Progress>,
    /// How often the read models were given up: what an earlier log said is not stored in them again.
    resets: AtomicU64,
    /// Reads entries of which nobody here had asked what they say.
    unpack: Arc<Unpack>,
    counters: Arc<Counters>,
}

impl Pipeline {
    /// A pipeline that has delivered everything up to `position` of a log that ends at `end`; read models by namespace.
    pub(crate) fn new(
        epoch: u64,
        (position, end): (u64, u64),
        read_models: &HashMap<String, Arc<dyn ReadModel>>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let read_models = read_models
            .iter()
            .map(|(name, model)| (token(name).into(), model.clone()));
        Arc::new(Self {
            state: Mutex::new(State {
                delivered: position,
                appends: Appends::new(position),
                epoch,
                namespaces: BTreeMap::new(),
            }),
            read_models: read_models.collect(),
            progress: watch::Sender::new(Progress {
                completed: position,
                target: end,
            }),
            resets: AtomicU64::new(0),
            unpack: unpack(counters.clone()),
            counters,
        })
    }

    pub(crate) fn read_models(&self) -> &HashMap<Box<str>, Arc<dyn ReadModel>> {
        &self.read_models
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// How far everything has been delivered.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
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

    /// Whether somebody here waits for what the log says next. An append does not count: who waits for one is told of it as
    /// soon as it is read, and only while nobody is connected is that some milliseconds later.
    pub(crate) fn is_awaited(&self) -> bool {
        let locals = locals(&self.state.lock());
        locals.iter().any(|local| local.has_members())
    }

    /// Calls back once this node has delivered what was appended.
    pub(crate) fn when_completed(&self, appended: Appended, done: AppendDone) {
        let told = self.state.lock().appends.wait(appended, done);
        tell(told.into_iter().collect());
    }

    /// As [`Pipeline::when_completed`], for what the log says it had already: where that is may be the place of a copy that
    /// the row before it made void, so the row is asked for.
    pub(crate) fn when_found(
        &self,
        (namespace, key): (&str, [u8; 16]),
        appended: Appended,
        done: AppendDone,
    ) {
        let Some(model) = self.read_models.get(token(namespace).as_str()).cloned() else {
            return self.when_completed(appended, done);
        };
        let look = move |appended: Result<Appended, _>| {
            tokio::spawn(async move {
                let first = model.position_of(key).await;
                done(appended.map(|appended: Appended| match first {
                    Some(first) if first != appended.position => duplicate_of(first),
                    _ => appended,
                }));
            });
        };
        self.when_completed(appended, Box::new(look));
    }

    /// Delivers until the follower has ended.
    pub(crate) async fn run(self: Arc<Self>, mut items: mpsc::Receiver<Item>) {
        let (decided, mut settling) = mpsc::channel::<Submitted>(QUEUE);
        // Items between the two ends. Both are of this task.
        let unsettled = AtomicUsize::new(0);
        let submitting = async {
            let mut batch = Vec::with_capacity(BATCH);
            let mut in_a_row = 0;
            while items.recv_many(&mut batch, BATCH).await > 0 {
                in_a_row += batch.len();
                if self.submit_all(&mut batch, &decided, &unsettled).await {
                    self.advance();
                }
                // Not after each: to be woken for nothing costs as much as to deliver some.
                if in_a_row >= BATCH {
                    in_a_row = 0;
                    tokio::task::yield_now().await;
                }
            }
            drop(decided);
        };
        let delivering = async {
            let mut batch = Vec::with_capacity(BATCH);
            while settling.recv_many(&mut batch, BATCH).await > 0 {
                for submitted in batch.drain(..) {
                    self.deliver(submitted).await;
                    unsettled.fetch_sub(1, Ordering::Relaxed);
                }
                self.advance();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(submitting, delivering);
        let waiting = self.state.lock().appends.end();
        tell(waiting);
    }

    /// Passes items on to the delivery, behind those whose rows are not decided; what need not wait for one is delivered at
    /// once. Whether namespaces are still to be told of such.
    async fn submit_all(
        &self,
        batch: &mut Vec<Item>,
        decided: &mpsc::Sender<Submitted>,
        unsettled: &AtomicUsize,
    ) -> bool {
        let mut is_to_tell = false;
        for mut item in batch.drain(..) {
            item.read_if(|namespace| self.read_models.contains_key(namespace));
            if unsettled.load(Ordering::Relaxed) == 0 && !self.has_to_wait(&item) {
                self.hand_over(item, Committed::Stored);
                is_to_tell = true;
                continue;
            }
            if std::mem::take(&mut is_to_tell) {
                self.advance();
            }
            let submitted = self.submit(item).await;
            unsettled.fetch_add(1, Ordering::Relaxed);
            // Its other end is dropped with this one.
            let _sent = decided.send(submitted).await;
        }
        is_to_tell
    }

    /// Whether a row is stored, or rows go, before this is delivered.
    fn has_to_wait(&self, item: &Item) -> bool {
        match item {
            Item::Message {
                namespace,
                content: Content::Read(logged),
                ..
            } => logged.record.is_some() && self.read_models.contains_key(&**namespace),
            Item::NewEpoch { .. } => true,
            _ => false,
        }
    }

    /// Gives a record to the read model, which commits in its own time; what follows it need not wait here.
    async fn submit(&self, item: Item) -> Submitted {
        let fate = match &item {
            Item::Message {
                position,
                namespace,
                content: Content::Read(logged),
                ..
            } => match (self.read_models.get(&**namespace), &logged.record) {
                (Some(model), Some(record)) => Some(commit(model, *position, record).await),
                _ => None,
            },
            Item::NewEpoch { epoch, .. } => {
                self.reset(*epoch).await;
                None
            }
            _ => None,
        };
        Submitted {
            item,
            fate,
            resets: self.resets.load(Ordering::Relaxed),
        }
    }

    /// The rows are of another log: they go before the first of this one comes.
    async fn reset(&self, epoch: u64) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        for model in self.read_models.values() {
            while let Err(error) = model.reset(epoch).await {
                tracing::error!(%error, cause = %error.0, "tried again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Waits for a record's fate; one that could not be stored is given again, for the log has it.
    async fn settle(&self, submitted: &mut Submitted) -> Committed {
        while let Some(fate) = submitted.fate.take() {
            let settled = fate.await.unwrap_or(Committed::Failed);
            let Item::Message {
                position,
                namespace,
                content: Content::Read(logged),
                ..
            } = &submitted.item
            else {
                return settled;
            };
            let model = self.read_models.get(&**namespace);
            let (Committed::Failed, Some(model), Some(record)) = (settled, model, &logged.record)
            else {
                return settled;
            };
            self.counters.rows_retried.increment();
            while submitted.fate.is_none() {
                tokio::time::sleep(RETRY).await;
                // Nothing is awaited from here to the commit: a reset comes before both, or after both.
                if submitted.resets != self.resets.load(Ordering::Relaxed) {
                    return settled;
                }
                submitted.fate = try_commit(model, *position, record).ok();
            }
        }
        Committed::Stored
    }

    async fn deliver(&self, mut submitted: Submitted) {
        let fate = self.settle(&mut submitted).await;
        self.hand_over(submitted.item, fate);
    }

    fn hand_over(&self, item: Item, fate: Committed) {
        let (position, namespace, content, age) = match item {
            Item::Message {
                position,
                namespace,
                content,
                age,
            } => (position, namespace, content, age),
            Item::Gap { position } => return self.restart(None, position, None),
            Item::NewEpoch {
                epoch,
                position,
                end,
            } => return self.restart(Some(epoch), position, Some(end)),
            Item::Own { namespace, cast } => {
                if let Some(local) = self.local(&namespace) {
                    local.receive(cast);
                }
                return;
            }
        };
        let local = {
            let mut state = self.state.lock();
            state.delivered = position;
            state.namespaces.get(&*namespace).and_then(Weak::upgrade)
        };
        let mut content = content;
        if local.as_ref().is_some_and(|local| local.has_members()) {
            // Somebody is about to be sent it, or not: to copy it first would be for nothing.
            content.read(position);
        }
        match (fate, local) {
            // The row with the lower position wins, on every node alike: the later one reaches nobody (semantics 12). A
            // node that reads on after a restart finds its own rows there: they are no duplicates.
            (Committed::Duplicate { first }, _) if first != position => {
                return self.complete(position, Some(first));
            }
            _ if !content.is_readable() => self.counters.unreadable_messages.increment(),
            (_, None) => self.counters.entries_foreign.increment(),
            (_, Some(local)) => {
                self.counters.entries_delivered.increment();
                let entry = content.into_entry(position, age, &self.unpack);
                local.deliver(&Arc::new(entry));
            }
        }
        self.complete(position, None);
    }

    fn local(&self, namespace: &str) -> Option<Arc<dyn Local>> {
        self.state.lock().namespaces.get(namespace)?.upgrade()
    }

    /// A position is done with: whoever appended it is told.
    fn complete(&self, position: u64, first: Option<u64>) {
        let told = self.state.lock().appends.complete(position, first);
        tell(told);
    }

    /// Tells every namespace how far the log has been read: positions of other namespaces are passed, too.
    fn advance(&self) {
        let (completed, locals) = {
            let state = self.state.lock();
            (state.appends.completed(), locals(&state))
        };
        for local in locals {
            local.advance(completed);
        }
        self.progress
            .send_modify(|progress| progress.completed = completed);
    }

    fn restart(&self, epoch: Option<u64>, position: u64, end: Option<u64>) {
        self.counters.restarts.increment();
        let (epoch, locals, waiting) = {
            let mut state = self.state.lock();
            state.epoch = epoch.unwrap_or(state.epoch);
            state.delivered = position;
            let waiting = state.appends.restart(position);
            (state.epoch, locals(&state), waiting)
        };
        // Before the namespaces hear of it: nobody may take the node for up to date meanwhile.
        self.progress.send_modify(|progress| {
            progress.completed = position;
            progress.target = end.unwrap_or(progress.target);
        });
        for local in locals {
            local.restart(epoch, position);
        }
        tell(waiting);
    }
}

fn locals(state: &State) -> Vec<Arc<dyn Local>> {
    state
        .namespaces
        .values()
        .filter_map(Weak::upgrade)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use bytes::Bytes;
    use chatcluster_harness::within;
    use chatcluster_socketio::Event;
    use chatcluster_socketio::adapter::{Answer, Cast, Request, Swept};
    use chatcluster_socketio::log::{Busy, CommitDone, Entry, Envelope, Record, Store, Target};
    use chatcluster_socketio::session::StoreError;
    use futures_util::future::BoxFuture;
    use serde::Serialize;

    use crate::codec;
    use crate::read_model::ResetError;

    /// A read model that has these rows from before, by key; it fails as often as told.
    #[derive(Default)]
    struct Rows(Mutex<HashMap<[u8; 16], u64>>, AtomicU64);

    impl ReadModel for Rows {
        fn epoch(&self) -> Option<u64> {
            Some(1)
        }
        fn reset(&self, _: u64) -> BoxFuture<'static, Result<(), ResetError>> {
            self.0.lock().clear();
            Box::pin(std::future::ready(Ok(())))
        }
        fn position_of(&self, key: [u8; 16]) -> BoxFuture<'static, Option<u64>> {
            Box::pin(std::future::ready(self.0.lock().get(&key).copied()))
        }
        fn trim(&self, _: u64) {}
    }

    impl Store for Rows {
        fn last_position(&self) -> u64 {
            0
        }
        fn commit(&self, position: u64, record: Record, done: CommitDone) -> Result<(), Busy> {
            let failing = self.1.load(Ordering::Relaxed);
            if failing > 0 {
                self.1.store(failing - 1, Ordering::Relaxed);
                done(Committed::Failed);
                return Ok(());
            }
            let before = self.0.lock().get(&record.key).copied();
            let first = before.unwrap_or(position);
            self.0.lock().insert(record.key, first);
            done(before.map_or(Committed::Stored, |first| Committed::Duplicate { first }));
            Ok(())
        }
    }

    /// Notes what it is delivered.
    #[derive(Default)]
    struct Notes(Mutex<Vec<u64>>, Mutex<Vec<(u64, u64)>>, AtomicBool);

    impl Local for Notes {
        fn deliver(&self, entry: &Arc<Entry>) {
            self.0.lock().push(entry.position);
        }
        fn advance(&self, _: u64) {}
        fn members(&self) -> usize {
            0
        }
        fn has_members(&self) -> bool {
            self.2.load(Ordering::Relaxed)
        }
        fn restart(&self, epoch: u64, position: u64) {
            self.1.lock().push((epoch, position));
        }
        fn receive(&self, _: Cast) {}
        fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Answer> {
            Box::pin(std::future::pending())
        }
        fn assert(self: Arc<Self>, _: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
            Box::pin(std::future::pending())
        }
    }

    /// Keeps what it is delivered.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Arc<Entry>>>);

    impl Local for Kept {
        fn deliver(&self, entry: &Arc<Entry>) {
            self.0.lock().push(entry.clone());
        }
        fn advance(&self, _: u64) {}
        fn members(&self) -> usize {
            0
        }
        fn has_members(&self) -> bool {
            false
        }
        fn restart(&self, _: u64, _: u64) {}
        fn receive(&self, _: Cast) {}
        fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Answer> {
            Box::pin(std::future::pending())
        }
        fn assert(self: Arc<Self>, _: Swept) -> BoxFuture<'static, Result<bool, StoreError>> {
            Box::pin(std::future::pending())
        }
    }

    fn message(position: u64, key: u8) -> Item {
        item(
            position,
            Some(Record {
                key: [key; 16],
                room: "".into(),
                body: "{}".into(),
            }),
        )
    }

    fn item(position: u64, record: Option<Record>) -> Item {
        let envelope = Envelope {
            target: Target::All,
            except: [].into_iter().collect(),
            event: Event::new("e", &position).unwrap(),
            announced_by: None,
        };
        packed(position, &Logged { envelope, record })
    }

    fn packed<T: Serialize>(position: u64, payload: &T) -> Item {
        Item::Message {
            position,
            namespace: token("/").into(),
            content: Content::Packed(codec::encode(payload).unwrap()),
            age: Duration::ZERO,
        }
    }

    /// Runs these items to their end; what was delivered.
    async fn delivered(rows: Arc<Rows>, all: Vec<Item>) -> (Arc<Notes>, Arc<Pipeline>) {
        let models = HashMap::from([("/".to_owned(), rows as Arc<dyn ReadModel>)]);
        let pipeline = Pipeline::new(1, (0, 5), &models, Arc::default());
        let notes = Arc::new(Notes::default());
        let local: Arc<dyn Local> = notes.clone();
        pipeline.follow("/", Arc::downgrade(&local));
        let (items, received) = mpsc::channel(QUEUE);
        for item in all {
            items.send(item).await.unwrap();
        }
        drop(items);
        within("the end of the log", pipeline.clone().run(received)).await;
        (notes, pipeline)
    }

    #[tokio::test]
    async fn own_rows_read_again_are_delivered_and_later_duplicates_are_not() {
        let rows = HashMap::from([([1; 16], 1), ([2; 16], 2)]);
        let rows = Rows(Mutex::new(rows), AtomicU64::default());
        let items = [(1, 1), (2, 2), (3, 3), (4, 1), (5, 5)];
        let items = items.map(|(position, key)| message(position, key));
        let (notes, pipeline) = delivered(Arc::new(rows), items.into()).await;
        assert_eq!(*notes.0.lock(), [1, 2, 3, 5]);
        assert!(pipeline.progress().borrow().is_caught_up());
    }

    #[tokio::test]
    async fn the_log_is_awaited_while_a_namespace_has_members() {
        let (notes, pipeline) = delivered(Arc::default(), Vec::new()).await;
        assert!(!pipeline.is_awaited());
        notes.2.store(true, Ordering::Relaxed);
        assert!(pipeline.is_awaited());
        drop(notes);
        assert!(!pipeline.is_awaited(), "it is gone");
    }

    #[tokio::test]
    async fn what_another_release_wrote_is_counted_and_passed_over() {
        let items = vec![message(1, 1), packed(2, &"no event"), message(3, 3)];
        let (notes, pipeline) = delivered(Arc::default(), items).await;
        assert_eq!(*notes.0.lock(), [1, 3]);
        assert_eq!(pipeline.counters.unreadable_messages.get(), 1);
        assert_eq!(pipeline.progress().borrow().completed, 3);
    }

    #[tokio::test]
    async fn where_no_row_is_kept_what_cannot_be_read_is_counted_when_its_version_or_somebody_says_so()
     {
        let pipeline = Pipeline::new(1, (0, 5), &HashMap::new(), Arc::default());
        let kept = Arc::new(Kept::default());
        let local: Arc<dyn Local> = kept.clone();
        pipeline.follow("/", Arc::downgrade(&local));
        let of_version = |position, version| Item::Message {
            position,
            namespace: token("/").into(),
            content: Content::Packed(Bytes::copy_from_slice(&[version, 0xc1])),
            age: Duration::ZERO,
        };
        let (items, received) = mpsc::channel(QUEUE);
        let broken = [
            of_version(1, codec::VERSION),
            of_version(2, codec::NEXT + 1),
        ];
        for item in broken.into_iter().chain([message(3, 3)]) {
            items.send(item).await.unwrap();
        }
        drop(items);
        within("the end of the log", pipeline.clone().run(received)).await;
        let counted = || pipeline.counters.unreadable_messages.get();
        assert_eq!(counted(), 1, "another version");
        let kept = kept.0.lock();
        let positions: Vec<u64> = kept.iter().map(|entry| entry.position).collect();
        assert_eq!(positions, [1, 3]);
        let nobody = Target::Rooms([].into_iter().collect());
        assert_eq!(kept[0].envelope().target, nobody);
        assert_eq!(kept[1].envelope().target, Target::All);
        assert_eq!(counted(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_cannot_be_stored_is_tried_until_it_can_and_nothing_overtakes_it() {
        let rows = Arc::new(Rows(Mutex::default(), AtomicU64::new(5)));
        let items = vec![message(1, 1), message(2, 2), message(3, 3)];
        let (notes, pipeline) = delivered(rows.clone(), items).await;
        assert_eq!(*notes.0.lock(), [1, 2, 3]);
        assert_eq!(rows.0.lock().len(), 3);
        assert_eq!(pipeline.counters.rows_retried.get(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_needs_no_row_waits_behind_one_that_is_not_stored_yet() {
        let rows = Arc::new(Rows(Mutex::default(), AtomicU64::new(2)));
        let items = vec![item(1, None), message(2, 2), item(3, None), item(4, None)];
        let (notes, _) = delivered(rows, items).await;
        assert_eq!(*notes.0.lock(), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_new_epoch_gives_up_the_rows_and_is_behind_until_it_is_read() {
        let rows = Rows(
            Mutex::new(HashMap::from([([9; 16], 7)])),
            AtomicU64::default(),
        );
        let rows = Arc::new(rows);
        let new = Item::NewEpoch {
            epoch: 2,
            position: 2,
            end: 4,
        };
        let items = vec![new, message(3, 9)];
        let (notes, pipeline) = delivered(rows.clone(), items).await;
        assert_eq!(*notes.1.lock(), [(2, 2)]);
        assert_eq!(
            (&*notes.0.lock(), &*rows.0.lock()),
            (&vec![3], &HashMap::from([([9; 16], 3)]))
        );
        assert_eq!(pipeline.epoch(), 2);
        assert!(!pipeline.progress().borrow().is_caught_up());
    }
}
