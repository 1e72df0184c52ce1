//! Requests to the other nodes: who was asked, who has answered.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::{Answer, Answers, Request};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::codec;
use crate::ephemeral::{Link, Outgoing};
use crate::ports::Letters;
use crate::queue::{Queue, Weight};

/// So many requests of one namespace wait for answers at once. What comes beyond is not asked: all are missing.
const MAX_WAITING: usize = 1024;
/// An answer that was sent before its node's farewell may be taken by this process after it, so much later.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) node: NodeId,
    /// The asker's number for it.
    pub(crate) id: u64,
    /// How long the asker waits.
    pub(crate) within: Duration,
    pub(crate) request: Request,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) node: NodeId,
    pub(crate) id: u64,
    pub(crate) outcome: Outcome,
}

/// An answer, or why there will be none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Answer(Answer),
    /// The broker would not carry it.
    TooLarge,
    /// Too many requests are being answered.
    Busy,
    /// The namespace ends there.
    Closed,
    /// There is no such namespace there: nothing is missing.
    NotServed,
}

/// The requests that wait for answers.
#[derive(Default)]
pub(crate) struct Asks {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_id: HashMap<u64, Open>,
}

/// One request.
struct Open {
    /// Who may still answer.
    awaited: BTreeSet<NodeId>,
    /// Who has nothing to do with it.
    absent: BTreeSet<NodeId>,
    answers: Answers,
    /// Dropped when nobody is awaited any more.
    done: Option<oneshot::Sender<()>>,
}

impl Open {
    fn give_up_on(&mut self, is_gone: impl Fn(&NodeId) -> bool) {
        self.awaited.retain(|node| !is_gone(node));
        if self.awaited.is_empty() {
            self.done = None;
        }
    }
}

impl Asks {
    fn begin(&self, nodes: &[NodeId]) -> Option<(u64, oneshot::Receiver<()>)> {
        let mut waiting = self.waiting.lock();
        if waiting.by_id.len() >= MAX_WAITING {
            return None;
        }
        let (done, is_done) = oneshot::channel();
        let id = waiting.next;
        waiting.next += 1;
        let open = Open {
            awaited: nodes.iter().cloned().collect(),
            absent: BTreeSet::new(),
            answers: Answers::default(),
            done: Some(done),
        };
        waiting.by_id.insert(id, open);
        Some((id, is_done))
    }

    /// Takes what a node said. One that was not there when it was asked may have heard it all the same, and counts.
    fn take(&self, reply: Reply) {
        let Reply { node, id, outcome } = reply;
        let mut waiting = self.waiting.lock();
        // Nobody waits for it any more: it came too late, or twice.
        let Some(open) = waiting.by_id.get_mut(&id) else {
            return;
        };
        match outcome {
            Outcome::Answer(answer) => {
                open.answers.answers.insert(node.clone(), answer);
            }
            Outcome::NotServed => {
                open.absent.insert(node.clone());
            }
            Outcome::TooLarge | Outcome::Busy | Outcome::Closed => {}
        }
        open.give_up_on(|n| *n == node);
    }

    fn give_up_on(&self, id: u64, is_gone: impl Fn(&NodeId) -> bool) {
        if let Some(open) = self.waiting.lock().by_id.get_mut(&id) {
            open.give_up_on(is_gone);
        }
    }

    /// The answers, and who has nothing to do with it.
    fn end(&self, id: u64) -> (Answers, BTreeSet<NodeId>) {
        let ended = self.waiting.lock().by_id.remove(&id);
        ended
            .map(|open| (open.answers, open.absent))
            .unwrap_or_default()
    }

    /// Nobody is awaited any more.
    pub(crate) fn end_all(&self) {
        for open in self.waiting.lock().by_id.values_mut() {
            open.done = None;
        }
    }
}

/// Takes answers until the subscription ends. What is done with one is short: the subscription never fills.
pub(crate) async fn collect(link: Arc<Link>, mut replies: Letters) {
    while let Some(message) = replies.next().await {
        if message.payload.is_empty() {
            link.confirm();
            continue;
        }
        match codec::decode::<Reply>(&message.payload) {
            Ok(reply) => {
                if matches!(reply.outcome, Outcome::TooLarge) {
                    link.too_large("another node's answer");
                }
                link.asks.take(reply);
            }
            Err(error) => link.unreadable(&error),
        }
    }
}

/// Asks the others. Queued here and now; the future only waits.
pub(crate) fn ask(
    link: &Arc<Link>,
    outgoing: &Queue<Outgoing>,
    request: Request,
    within: Duration,
) -> BoxFuture<'static, Answers> {
    let deadline = Instant::now() + within;
    // Before the list of the others: no death between the two is overlooked.
    let changes = link.broker.peers.changes();
    let asked = link.broker.peers.others();
    if asked.is_empty() {
        return ready(Answers::default()).boxed();
    }
    let Some((id, done)) = link.asks.begin(&asked) else {
        link.unsent(Weight::Droppable);
        return ready(all_missing(link, asked)).boxed();
    };
    // From here on the request is forgotten with its question.
    let question = Question {
        link: link.clone(),
        id,
        asked,
    };
    if !put(link, outgoing, id, within, request) {
        return ready(question.answers()).boxed();
    }
    question.wait(done, changes, deadline).boxed()
}

fn all_missing(link: &Link, asked: Vec<NodeId>) -> Answers {
    let missing = u64::try_from(asked.len()).unwrap_or(u64::MAX);
    link.broker.counters.answers_missing.add(missing);
    Answers {
        missing: asked,
        ..Answers::default()
    }
}

/// False if it cannot be published.
fn put(
    link: &Link,
    outgoing: &Queue<Outgoing>,
    id: u64,
    within: Duration,
    request: Request,
) -> bool {
    let ask = Ask {
        node: link.broker.peers.node().clone(),
        id,
        within,
        request,
    };
    let payload = match codec::encode(&ask) {
        Ok(payload) if link.fits(&payload) => payload,
        Ok(_) => {
            link.too_large("request");
            return false;
        }
        Err(error) => {
            tracing::error!(%error, "encode a request");
            return false;
        }
    };
    let message = Outgoing {
        subject: link.subjects.ask.clone(),
        reply: Some(link.subjects.replies.clone()),
        payload,
        weight: Weight::Droppable,
    };
    let is_sent = link.is_connected() && !link.is_closed() && message.queue(outgoing).is_ok();
    if !is_sent {
        link.unsent(Weight::Droppable);
    }
    is_sent
}

/// A request that was put to others.
struct Question {
    link: Arc<Link>,
    id: u64,
    asked: Vec<NodeId>,
}

impl Question {
    async fn wait(
        self,
        mut done: oneshot::Receiver<()>,
        mut changes: watch::Receiver<u64>,
        deadline: Instant,
    ) -> Answers {
        let peers = &self.link.broker.peers;
        loop {
            tokio::select! {
                biased;
                // Its sender was dropped: there is nothing else to it.
                _ = &mut done => break,
                Ok(()) = changes.changed() => {
                    if timeout(SETTLE_TIME, &mut done).await.is_ok() {
                        break;
                    }
                    self.link.asks.give_up_on(self.id, |node| !peers.is_there(node));
                }
                () = sleep_until(deadline) => break,
            }
        }
        self.answers()
    }

    /// What came, and who is missing.
    fn answers(&self) -> Answers {
        let (mut answers, absent) = self.link.asks.end(self.id);
        let asked = self.asked.iter().filter(|node| !absent.contains(*node));
        let missing = asked.filter(|node| !answers.answers.contains_key(*node));
        answers.missing = missing.cloned().collect();
        let count = u64::try_from(answers.missing.len()).unwrap_or(u64::MAX);
        self.link.broker.counters.answers_missing.add(count);
        answers
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.link.asks.end(self.id);
    }
}
