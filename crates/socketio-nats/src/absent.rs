//! Requests to namespaces that this node does not serve: it says so at once, so that nobody waits for it or calls it missing.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Subject;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::codec;
use crate::ephemeral::Broker;
use crate::ports::Letter;
use crate::requests::{Ask, Outcome, Reply};

/// How long an answer may take to be handed to the client; who asked waits for its own deadline then.
const ANSWER: Duration = Duration::from_secs(1);

/// The namespaces that answer for themselves, by the subject of their requests, and how often each is open.
#[derive(Default)]
pub(crate) struct Served(Mutex<HashMap<Box<str>, usize>>);

impl Served {
    /// Its subscription stands: from now on it answers.
    pub(crate) fn begin(&self, ask: &Subject) {
        *self.0.lock().entry(ask.as_str().into()).or_default() += 1;
    }

    pub(crate) fn end(&self, ask: &Subject) {
        let mut served = self.0.lock();
        if let Some(count) = served.get_mut(ask.as_str()) {
            *count -= 1;
            if *count == 0 {
                served.remove(ask.as_str());
            }
        }
    }

    fn contains(&self, ask: &Subject) -> bool {
        self.0.lock().contains_key(ask.as_str())
    }
}

/// Answers as long as the connection is used. What is done with one request is short: the subscription never fills.
pub(crate) async fn serve(broker: Broker) {
    let asks = broker.wire.subscribe(broker.names.any_ask().into()).await;
    let mut asks = match asks {
        Ok(asks) => asks,
        // Others wait for this node as long as for one that does not answer.
        Err(error) => return tracing::error!(%error, "subscribe to requests of all namespaces"),
    };
    while let Some(letter) = asks.next().await {
        if !broker.served.contains(&letter.subject) {
            answer(&broker, letter).await;
        }
    }
}

async fn answer(broker: &Broker, letter: Letter) {
    let (Some(to), Ok(ask)) = (letter.reply, codec::decode::<Ask>(&letter.payload)) else {
        return broker.counters.messages_unreadable.increment();
    };
    let node = broker.peers.node();
    if ask.node == *node {
        return;
    }
    let reply = Reply {
        node: node.clone(),
        id: ask.id,
        outcome: Outcome::NotServed,
    };
    match codec::encode(&reply) {
        Ok(payload) => {
            let published = timeout(ANSWER, broker.wire.publish(to, None, payload)).await;
            if !matches!(published, Ok(Ok(()))) {
                broker.counters.messages_unsent.increment();
            }
        }
        Err(error) => tracing::error!(%error, "encode an answer"),
    }
}
