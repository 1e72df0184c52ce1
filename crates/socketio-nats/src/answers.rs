//! Requests of other nodes: answered here, so many at once, each within its time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Subject;
use chatcluster_socketio::adapter::Local;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::codec;
use crate::ephemeral::{Link, Outgoing};
use crate::ports::{Letter, Letters};
use crate::queue::{Queue, Weight};
use crate::requests::{Ask, Outcome, Reply};

/// So many requests of one namespace are answered at once. What comes beyond is refused, and counted; who asked names this
/// node missing without waiting for it.
pub(crate) const MAX_ANSWERING: usize = 256;
/// Nobody waits longer for an answer, whatever is asked.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Answers until the subscription ends.
pub(crate) async fn serve(
    link: Arc<Link>,
    mut asks: Letters,
    outgoing: Queue<Outgoing>,
    local: Weak<dyn Local>,
) {
    let mut answering = JoinSet::new();
    while let Some(message) = asks.next().await {
        while answering.try_join_next().is_some() {}
        let Some((ask, to)) = read(&link, message) else {
            continue;
        };
        if answering.len() < MAX_ANSWERING {
            answering.spawn(answer(link.clone(), ask, to, local.clone()));
        } else {
            link.broker.counters.requests_refused.increment();
            refuse(&link, &outgoing, &ask, to);
        }
    }
}

/// A request of another node, and where its answer goes.
fn read(link: &Link, message: Letter) -> Option<(Ask, Subject)> {
    match codec::decode::<Ask>(&message.payload) {
        Ok(ask) if ask.node == *link.broker.peers.node() => None,
        // Without an address nobody waits.
        Ok(ask) => message.reply.map(|to| (ask, to)),
        Err(error) => {
            link.unreadable(&error);
            None
        }
    }
}

async fn answer(link: Arc<Link>, ask: Ask, to: Subject, local: Weak<dyn Local>) {
    let time = ask.within.min(MAX_TIME);
    let id = ask.id;
    let answered = timeout(time, async {
        let outcome = match local.upgrade() {
            Some(local) if !link.is_closed() => Outcome::Answer(local.answer(ask.request).await),
            _ => Outcome::Closed,
        };
        let Some(payload) = encode(&link, id, outcome) else {
            return;
        };
        if let Err(error) = link.broker.wire.publish(to, None, payload).await {
            tracing::debug!(%error, "publish an answer");
        }
    });
    if answered.await.is_err() {
        // Nobody waits for it any more.
        link.broker.counters.requests_late.increment();
    }
}

/// Says that there is no answer. Never waits: if that cannot be said either, the time says it.
fn refuse(link: &Link, outgoing: &Queue<Outgoing>, ask: &Ask, to: Subject) {
    let Some(payload) = encode(link, ask.id, Outcome::Busy) else {
        return;
    };
    let message = Outgoing {
        subject: to,
        reply: None,
        payload,
        weight: Weight::Droppable,
    };
    if message.queue(outgoing).is_err() {
        link.unsent(Weight::Droppable);
    }
}

/// In place of an answer that the broker would not carry: that it is so.
fn encode(link: &Link, id: u64, outcome: Outcome) -> Option<bytes::Bytes> {
    let mut reply = Reply {
        node: link.broker.peers.node().clone(),
        id,
        outcome,
    };
    let mut encoded = codec::encode(&reply);
    if encoded.as_ref().is_ok_and(|payload| !link.fits(payload)) {
        link.too_large("answer");
        reply.outcome = Outcome::TooLarge;
        encoded = codec::encode(&reply);
    }
    encoded
        .inspect_err(|error| tracing::error!(%error, "encode an answer"))
        .ok()
}
