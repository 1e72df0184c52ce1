//! What a namespace tells and asks the other nodes outside the log: casts and requests, each at most once.
//!
//! All that a namespace publishes here goes through one queue and one task, so casts and requests of one node arrive in
//! the order in which they were made. It begins when the subscriptions were sent on the same connection: no answer comes
//! before somebody listens. A second task drains each subscription into a bounded queue, because the client library drops
//! silently what is not taken.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Subject, SubscribeError};
use bytes::Bytes;
use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::{Answers, Cast, Local, Request};
use chatcluster_socketio::level::Level;
use futures_util::future::BoxFuture;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::absent::Served;
use crate::answers;
use crate::casts;
use crate::codec;
use crate::counters::Counters;
use crate::names::Names;
use crate::peers::{JoinError, Peers};
use crate::ports::{Letters, Wire};
use crate::queue::{Queue, Refused, Taker, Weight};
use crate::requests::{self, Asks};

/// How long the broker may take to bring the sign back that the subscriptions stand; then another one is sent.
const CONFIRM_TIME: Duration = Duration::from_secs(1);
/// How long what is queued may still be published after the end.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What all namespaces of a node share.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) names: Names,
    pub(crate) peers: Arc<Peers>,
    pub(crate) counters: Arc<Counters>,
    /// Requests of the other namespaces are answered for them.
    pub(crate) served: Arc<Served>,
}

impl Broker {
    /// Makes the other nodes and this one known to each other.
    pub(crate) async fn join(
        wire: Arc<dyn Wire>,
        names: &Names,
        node: &NodeId,
        counters: &Arc<Counters>,
    ) -> Result<Self, JoinError> {
        let (names, node, counters) = (names.clone(), node.clone(), counters.clone());
        let peers = Peers::join(wire.clone(), names.clone(), node, counters.clone()).await?;
        Ok(Self {
            wire,
            names,
            peers,
            counters,
            served: Arc::default(),
        })
    }
}

/// Casts and requests of one namespace.
pub(crate) struct Ephemeral {
    link: Arc<Link>,
    outgoing: Queue<Outgoing>,
}

/// What the tasks of one namespace share.
pub(crate) struct Link {
    pub(crate) broker: Broker,
    pub(crate) subjects: Subjects,
    pub(crate) asks: Asks,
    told_too_large: AtomicBool,
    /// A [`Stage`].
    stage: Level,
}

pub(crate) struct Subjects {
    pub(crate) cast: Subject,
    pub(crate) ask: Subject,
    /// Where answers to this node go.
    pub(crate) replies: Subject,
}

/// Goes one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Open,
    Closed,
}

/// A message on its way to the broker.
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) reply: Option<Subject>,
    pub(crate) payload: Bytes,
    pub(crate) weight: Weight,
}

impl Outgoing {
    /// Never waits.
    pub(crate) fn queue(self, queue: &Queue<Self>) -> Result<(), Refused> {
        let (bytes, weight) = (self.payload.len(), self.weight);
        queue.push(self, bytes, weight)
    }
}

impl Ephemeral {
    /// Starts to listen, on the current runtime. What is sent before [`Ephemeral::opened`] waits until the own answers
    /// can arrive; what others send before it may be lost.
    pub(crate) fn open(broker: Broker, namespace: &str, local: Weak<dyn Local>) -> Self {
        let subjects = Subjects {
            cast: broker.names.cast(namespace).into(),
            ask: broker.names.ask(namespace).into(),
            replies: broker.wire.inbox(),
        };
        let link = Arc::new(Link {
            broker,
            subjects,
            asks: Asks::default(),
            told_too_large: AtomicBool::new(false),
            stage: Level::default(),
        });
        let (outgoing, queued) = Queue::new();
        // Ends by itself, soon after `close`.
        tokio::spawn(run(link.clone(), outgoing.clone(), queued, local));
        Self { link, outgoing }
    }

    /// Resolves when the broker has taken the subscriptions: true. False if it is closed before. No deadline of its own:
    /// while there is no connection it waits for one.
    ///
    /// With several brokers the others may hear of a subscription a little later.
    pub(crate) fn opened(&self) -> impl Future<Output = bool> + Send + use<> {
        let link = self.link.clone();
        async move {
            link.leaves(Stage::Opening).await;
            !link.is_closed()
        }
    }

    /// Sends to the other nodes. Never waits: beyond 65,536 or 64 MiB that wait, and while there is no connection, a cast is
    /// dropped and counted; an eviction only beyond 1024 more.
    pub(crate) fn cast(&self, cast: &Cast) {
        casts::send(&self.link, &self.outgoing, cast);
    }

    /// Asks the other nodes, at once and in order with the casts; the future only collects. It resolves when everybody has
    /// answered who was there when it was asked and still is, or when the time is up; the others are named missing.
    pub(crate) fn request(
        &self,
        request: Request,
        within: Duration,
    ) -> BoxFuture<'static, Answers> {
        requests::ask(&self.link, &self.outgoing, request, within)
    }

    /// Nothing more is received or answered. What was cast is still published, within two seconds; who waits for answers
    /// gets those that came.
    pub(crate) fn close(&self) {
        self.link.close();
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        self.close();
    }
}

impl Link {
    pub(crate) fn is_connected(&self) -> bool {
        self.broker.wire.is_connected()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.stage.get() == Stage::Closed as u64
    }

    /// Whether the broker carries that much.
    pub(crate) fn fits(&self, payload: &Bytes) -> bool {
        payload.len() <= self.broker.wire.max_payload()
    }

    /// A message that somebody else wrote, or a release that is not known here.
    pub(crate) fn unreadable(&self, error: &codec::Error) {
        self.broker.counters.messages_unreadable.increment();
        tracing::debug!(%error, cast = %self.subjects.cast, "a message that this node cannot read");
    }

    /// A message that the broker would not carry. The first is told.
    pub(crate) fn too_large(&self, what: &'static str) {
        self.broker.counters.messages_too_large.increment();
        if !self.told_too_large.swap(true, Ordering::Relaxed) {
            let max = self.broker.wire.max_payload();
            tracing::warn!(what, max, cast = %self.subjects.cast, "larger than the broker carries; told once");
        }
    }

    /// A message that was not published.
    pub(crate) fn unsent(&self, weight: Weight) {
        match weight {
            Weight::Droppable => self.broker.counters.messages_unsent.increment(),
            Weight::Needed => self.eviction_lost(),
        }
    }

    /// The other node finds out when it next writes the session.
    pub(crate) fn eviction_lost(&self) {
        self.broker.counters.evictions_lost.increment();
        tracing::error!(cast = %self.subjects.cast, "an eviction is lost: a session may be on two connections");
    }

    /// The own sign came back: so did the subscriptions get there.
    pub(crate) fn confirm(&self) {
        self.stage.raise(Stage::Open as u64);
    }

    fn close(&self) {
        self.stage.raise(Stage::Closed as u64);
        self.asks.end_all();
    }

    /// Resolves when that stage is over.
    async fn leaves(&self, stage: Stage) {
        self.stage.until(|now| now > stage as u64).await;
    }

    async fn closed(&self) {
        self.leaves(Stage::Opening).await;
        self.leaves(Stage::Open).await;
    }
}

struct Subscriptions {
    casts: Letters,
    asks: Letters,
    replies: Letters,
}

async fn subscribe(link: &Link) -> Result<Subscriptions, SubscribeError> {
    let wire = &link.broker.wire;
    Ok(Subscriptions {
        replies: wire.subscribe(link.subjects.replies.clone()).await?,
        casts: wire.subscribe(link.subjects.cast.clone()).await?,
        asks: wire.subscribe(link.subjects.ask.clone()).await?,
    })
}

/// Owns all tasks of the namespace. After the end what is queued is still published.
async fn run(
    link: Arc<Link>,
    outgoing: Queue<Outgoing>,
    queued: Taker<Outgoing>,
    local: Weak<dyn Local>,
) {
    let subscriptions = tokio::select! {
        biased;
        () = link.closed() => return,
        subscribed = subscribe(&link) => subscribed,
    };
    match subscriptions {
        Ok(subscriptions) => {
            let publishing = tokio::spawn(publish(link.clone(), queued));
            serve(&link, subscriptions, outgoing, local).await;
            finish(publishing).await;
        }
        Err(error) => {
            tracing::error!(%error, cast = %link.subjects.cast, "subscribe to casts and requests");
        }
    }
    link.close();
}

/// Hears the other nodes until the end.
async fn serve(
    link: &Arc<Link>,
    subscriptions: Subscriptions,
    outgoing: Queue<Outgoing>,
    local: Weak<dyn Local>,
) {
    let Subscriptions {
        casts,
        asks,
        replies,
    } = subscriptions;
    let (arrived, to_deliver) = Queue::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(casts::receive(link.clone(), casts, arrived));
    tasks.spawn(casts::deliver(link.clone(), to_deliver, local.clone()));
    tasks.spawn(answers::serve(link.clone(), asks, outgoing, local));
    tasks.spawn(requests::collect(link.clone(), replies));
    let served = Serving::begin(link);
    tokio::select! {
        biased;
        () = stay(link) => {}
        // None of them ends before the client does.
        ended = tasks.join_next() => {
            tracing::error!(?ended, cast = %link.subjects.cast, "casts and requests end before they are closed");
            link.close();
        }
    }
    drop(served);
}

/// The namespace answers for itself as long as this lives.
struct Serving<'a>(&'a Link);

impl<'a> Serving<'a> {
    fn begin(link: &'a Link) -> Self {
        link.broker.served.begin(&link.subjects.ask);
        Self(link)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.broker.served.end(&self.0.subjects.ask);
    }
}

/// Makes sure that the subscriptions stand, and resolves at the end.
async fn stay(link: &Link) {
    let wire = &link.broker.wire;
    loop {
        if link.is_connected() {
            // The server takes one thing after another: when the sign arrives, the subscriptions did. A lost one is repeated.
            let sign = wire.publish(link.subjects.replies.clone(), None, Bytes::new());
            drop(timeout(CONFIRM_TIME, sign).await);
        }
        let confirmed = timeout(CONFIRM_TIME, link.leaves(Stage::Opening)).await;
        if confirmed.is_ok() {
            break;
        }
    }
    link.closed().await;
}

/// Publishes what is queued, in order. After the end it takes nothing new and publishes the rest.
async fn publish(link: Arc<Link>, mut queued: Taker<Outgoing>) {
    let mut closed = pin!(link.closed());
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            () = &mut closed, if is_open => {
                is_open = false;
                queued.close();
            }
            outgoing = queued.recv() => match outgoing {
                Some(outgoing) => put(&link, outgoing).await,
                None => return,
            },
        }
    }
}

/// Hands a message to the client. It waits, without a deadline, while the client's own buffer is full: meanwhile the queue
/// behind fills, and its rule holds.
async fn put(link: &Link, outgoing: Outgoing) {
    let Outgoing {
        subject,
        reply,
        payload,
        weight,
    } = outgoing;
    if weight == Weight::Droppable && !link.is_connected() {
        // It would be sent after the connection is back, and be old by then.
        return link.broker.counters.messages_unsent.increment();
    }
    let wire = &link.broker.wire;
    if let Err(error) = wire.publish(subject, reply, payload).await {
        link.unsent(weight);
        tracing::debug!(%error, "publish a cast or a request");
    }
}

/// Waits for the last messages.
async fn finish(mut publishing: JoinHandle<()>) {
    if timeout(DRAIN_TIME, &mut publishing).await.is_err() {
        publishing.abort();
    }
}

#[cfg(test)]
mod tests;
