//! Reads the whole log, in order and without a hole, or says that it cannot (semantics 11).
//!
//! The next message's sequence is always one more than the last; everything else is a gap. Every two seconds the stream is
//! asked where it ends: below us means that sequences are given out again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chatcluster_socketio::level::Level;
use chatcluster_socketio::outside;
use futures_util::StreamExt as _;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use crate::counters::Counters;
use crate::epoch::{Epoch, EpochError};
use crate::names::Names;
use crate::opening::open_buckets;
use crate::options::Options;
use crate::pipeline::{Content, Item};
use crate::ports::{Awaited, LogMessage, LogMessages, LogOutcome, LogState, Ports};
use crate::position::{first_of, last_of, whole_through};
use crate::read_model::ReadModel;
use crate::stream::StreamError;

/// Between two looks at the stream.
const LOOK: Duration = Duration::from_secs(2);
/// The stream may be ahead of us for so long without our getting anything; then the consumer is made anew.
const STUCK: Duration = Duration::from_secs(5);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// The first look at the log on a connection: nothing is written before it, and while a leader is elected nobody answers.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Events read before the connection and the looks get their turn again: to ask for them each time costs more than to hand an
/// event on.
const BURST: usize = 64;
/// Between two attempts to read on.
const BACK_OFF: Duration = Duration::from_millis(250);

/// Reading cannot go on for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("ask about the log")]
    Stream(#[from] StreamError),
    #[error("open the buckets")]
    Buckets(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("ask about the epoch")]
    Epoch(#[from] EpochError),
    #[error("make the consumer of the log")]
    Consumer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("read the log")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the log goes on, and nothing of it comes here")]
    Stuck,
    #[error("the log is another one, or was set back")]
    NewEpoch,
    #[error("the connection was made anew")]
    Reconnected,
    #[error("no answer in time")]
    NoAnswer,
    #[error("the node is being closed")]
    Closed,
}

/// Where a log is and how to ask about it.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) ports: Ports,
    pub(crate) names: Names,
    pub(crate) options: Arc<Options>,
    pub(crate) epoch: Epoch,
    pub(crate) counters: Arc<Counters>,
    pub(crate) read_models: Vec<Arc<dyn ReadModel>>,
}

impl Source {
    /// The sequence after which a node has to read: what its read models lack, and what a client may have missed.
    pub(crate) async fn start(&self, log: LogState) -> Result<u64, Trouble> {
        let count = self.ports.log.count_since(self.options.window).await?;
        let recent = log.last.saturating_sub(count);
        let models = self.read_models.iter();
        let lacking = models.map(|model| whole_through(model.last_position()));
        let begin = lacking.min().map_or(recent, |last| last.min(recent));
        // Nothing before the first is there to be read.
        Ok(begin.max(log.first.saturating_sub(1)).min(log.last))
    }
}

pub(crate) struct Follower {
    source: Source,
    items: mpsc::Sender<Item>,
    epoch: u64,
    stream_created: i64,
    /// The sequence read last.
    last: u64,
    /// Whether the log is being read; `None` or why not.
    health: watch::Sender<Option<String>>,
    /// Raised when a connection was made: consumers in the memory of a server that was started anew are gone.
    connections: watch::Receiver<u64>,
    /// The last connection on which the log was looked at.
    looked: Arc<Level>,
    awaited: Awaited,
    /// When the message at `last` was logged, once it has been read here: another one there means that the log was set back.
    last_published: Option<i64>,
    /// The last message's, by its token: mostly the next one's, too.
    namespace: Arc<str>,
    moved_at: Instant,
}

impl Follower {
    pub(crate) fn new(
        source: Source,
        (epoch, stream_created, last): (u64, i64, u64),
        (items, health): (mpsc::Sender<Item>, watch::Sender<Option<String>>),
        looked: Arc<Level>,
        awaited: Awaited,
    ) -> Self {
        Self {
            connections: source.ports.connections.clone(),
            source,
            items,
            epoch,
            stream_created,
            last,
            health,
            looked,
            awaited,
            last_published: None,
            namespace: Arc::default(),
            moved_at: Instant::now(),
        }
    }

    /// Reads until the pipeline has ended.
    pub(crate) async fn run(mut self) {
        loop {
            match self.read().await {
                Trouble::Closed => return,
                // The sooner the log is looked at, the sooner it is written to.
                Trouble::Reconnected => continue,
                trouble => {
                    self.source.counters.follower_restarts.increment();
                    let said = describe(&trouble);
                    tracing::warn!(sequence = self.last, trouble = said, "the log is read anew");
                    self.health.send_replace(Some(said));
                }
            }
            sleep(BACK_OFF).await;
        }
    }

    /// Reads from after the last position until something is in the way.
    async fn read(&mut self) -> Trouble {
        let mut messages = match self.open().await {
            Ok(messages) => messages,
            Err(trouble) => return trouble,
        };
        self.health.send_replace(None);
        let mut look = interval(LOOK);
        look.reset();
        loop {
            let outcome = tokio::select! {
                biased;
                Ok(()) = self.connections.changed() => Err(Trouble::Reconnected),
                _ = look.tick() => self.look_again().await,
                message = messages.next() => {
                    let before = self.last;
                    let outcome = self.on_messages(message, &mut messages).await;
                    if self.last != before {
                        self.moved_at = Instant::now();
                    }
                    outcome
                }
            };
            if let Err(trouble) = outcome {
                return trouble;
            }
        }
    }

    /// Looks at the log, and begins to read it from the last message on: that one must still be the same.
    async fn open(&mut self) -> Result<LogMessages, Trouble> {
        self.connections.borrow_and_update();
        // Taken before the look: if another one is made meanwhile, the gate stays shut.
        let connection = self.source.ports.wire.connection();
        match self.look(FIRST_LOOK).await {
            Err(Trouble::Epoch(error)) => {
                // NATS may have lost its data, the buckets among them.
                let opened = open_buckets(&self.source.ports).await;
                opened.map_err(|error| Trouble::Buckets(error.into()))?;
                return Err(Trouble::Epoch(error));
            }
            looked => looked?,
        }
        self.looked.set(connection);
        let awaited = self.awaited.clone();
        self.source.ports.log.read(self.last, awaited).await
    }

    /// Looks at the log, unless the connection is another one by now: of that one may not have been told.
    async fn look_again(&mut self) -> Result<(), Trouble> {
        if self.looked.get() != self.source.ports.wire.connection() {
            return Err(Trouble::Reconnected);
        }
        self.look(CALL).await
    }

    /// A message, or what came in its place, and what is here behind it.
    async fn on_messages(
        &mut self,
        mut message: Option<LogOutcome>,
        messages: &mut LogMessages,
    ) -> Result<(), Trouble> {
        // Once for all of them.
        let now = outside::since_1970();
        let mut events = 0;
        loop {
            match message {
                Some(Ok(message)) => events += self.on_message(message, now).await?,
                Some(Err(source)) => return Err(Trouble::Read(source)),
                None => return Err(Trouble::Stuck),
            }
            if events >= BURST {
                break;
            }
            let next = poll_fn(|context| Poll::Ready(messages.poll_next_unpin(context)));
            let Poll::Ready(next) = next.await else {
                break;
            };
            message = next;
        }
        Ok(())
    }

    /// Hands its events on; how many they are.
    async fn on_message(&mut self, message: LogMessage, now: Duration) -> Result<usize, Trouble> {
        let (sequence, published) = (message.sequence, message.published);
        if sequence == self.last {
            let known = *self.last_published.get_or_insert(published);
            if known != published {
                return self.set_back().await.map(|()| 0);
            }
        }
        if sequence <= self.last {
            // Not for nothing: others get their turn.
            return Ok(1);
        }
        if sequence != self.last + 1 {
            // What lies between was removed before this node could read it.
            self.skip(sequence - 1).await?;
        }
        let namespace = self.source.names.namespace_token(&message.subject);
        let namespace = namespace.unwrap_or_default();
        if *self.namespace != *namespace {
            self.namespace = namespace.into();
        }
        self.last = sequence;
        self.last_published = Some(published);
        let age = message.age(now);
        let mut count = 0;
        for (position, event) in message.events() {
            let item = Item::Message {
                position,
                namespace: self.namespace.clone(),
                age,
                content: Content::Packed(event),
            };
            self.hand_on(item).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Asks where the log ends, and whether it is still the same one.
    async fn look(&mut self, within: Duration) -> Result<(), Trouble> {
        let source = self.source.clone();
        let ports = &source.ports;
        let found = timeout(within, ports.log.state()).await;
        let log = match found.map_err(|_| Trouble::NoAnswer)?? {
            Some(log) => log,
            // Deleted: the next one is another epoch.
            None => ports.log.ensure().await?,
        };
        let (created, end) = (log.created, log.last);
        let mut epoch = source.epoch.of(created).await?;
        self.stream_created = created;
        if epoch == self.epoch && end < self.last {
            epoch = source.epoch.raise(self.epoch, created).await?;
        }
        if epoch != self.epoch {
            return self.begin_anew(epoch, log).await;
        }
        for model in &source.read_models {
            model.trim(first_of(log.first));
        }
        if end > self.last && self.moved_at.elapsed() > STUCK {
            self.moved_at = Instant::now();
            if log.first > self.last + 1 {
                // It does not come any more, and nobody who is let in now shall be sent away for it when the next one comes.
                self.skip(log.first - 1).await?;
            }
            return Err(Trouble::Stuck);
        }
        if end == self.last {
            self.moved_at = Instant::now();
        }
        Ok(())
    }

    /// Another message stands where the last one stood: sequences were given out again.
    async fn set_back(&mut self) -> Result<(), Trouble> {
        let source = self.source.clone();
        let epoch = source.epoch.raise(self.epoch, self.stream_created).await?;
        let log = source.ports.log.state().await?;
        self.begin_anew(epoch, log.ok_or(Trouble::Stuck)?).await
    }

    /// Goes on after a sequence; what lies between is gone.
    async fn skip(&mut self, sequence: u64) -> Result<(), Trouble> {
        tracing::warn!(
            from = self.last,
            to = sequence,
            "the log has a gap: sessions end"
        );
        self.last = sequence;
        self.last_published = None;
        self.moved_at = Instant::now();
        let position = last_of(sequence);
        self.hand_on(Item::Gap { position }).await
    }

    /// Begins to read another log: all of it for the read models, else only what comes. The consumer is of no use any more.
    async fn begin_anew(&mut self, epoch: u64, log: LogState) -> Result<(), Trouble> {
        let end = log.last;
        let begin = if self.source.read_models.is_empty() {
            end
        } else {
            log.first.saturating_sub(1).min(end)
        };
        tracing::warn!(
            epoch,
            begin,
            end,
            "the log is another one, or was set back: sessions end"
        );
        self.last = begin;
        self.last_published = None;
        self.epoch = epoch;
        self.moved_at = Instant::now();
        let anew = Item::NewEpoch {
            epoch,
            position: last_of(begin),
            end: last_of(end),
        };
        self.hand_on(anew).await?;
        Err(Trouble::NewEpoch)
    }

    async fn hand_on(&self, item: Item) -> Result<(), Trouble> {
        // To wait for room costs something even where there is some.
        match self.items.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(item)) => {
                self.items.send(item).await.map_err(|_| Trouble::Closed)
            }
            Err(TrySendError::Closed(_)) => Err(Trouble::Closed),
        }
    }
}

/// An error and its causes in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests;
