//! Casts: sent to the other nodes of a namespace, taken in the order of arrival.

use std::sync::{Arc, Weak};

use chatcluster_socketio::NodeId;
use chatcluster_socketio::adapter::{Cast, Local};
use futures_util::StreamExt as _;

use crate::codec;
use crate::ephemeral::{Link, Outgoing};
use crate::ports::Letters;
use crate::queue::{Queue, Taker, Weight};

/// A session on two connections is worse than a lost event: an eviction is kept longer.
fn weight(cast: &Cast) -> Weight {
    match cast {
        Cast::Evict { .. } => Weight::Needed,
        Cast::Volatile { .. } | Cast::ServerSide { .. } | Cast::Ephemeral { .. } => {
            Weight::Droppable
        }
    }
}

/// Queues a cast.
pub(crate) fn send(link: &Link, outgoing: &Queue<Outgoing>, cast: &Cast) {
    let weight = weight(cast);
    if weight == Weight::Droppable && !link.is_connected() {
        return link.unsent(weight);
    }
    let payload = match codec::encode(&(link.broker.peers.node(), cast)) {
        Ok(payload) if link.fits(&payload) => payload,
        Ok(_) => return link.too_large("cast"),
        Err(error) => return tracing::error!(%error, "encode a cast"),
    };
    let message = Outgoing {
        subject: link.subjects.cast.clone(),
        reply: None,
        payload,
        weight,
    };
    if message.queue(outgoing).is_err() {
        link.unsent(weight);
    }
}

/// Drains the subscription. What this node is too slow for is dropped by the rule of the queue, and counted.
pub(crate) async fn receive(link: Arc<Link>, mut casts: Letters, arrived: Queue<Cast>) {
    while let Some(message) = casts.next().await {
        let (node, cast): (NodeId, Cast) = match codec::decode(&message.payload) {
            Ok(read) => read,
            Err(error) => {
                link.unreadable(&error);
                continue;
            }
        };
        if node == *link.broker.peers.node() {
            continue;
        }
        let (bytes, weight) = (message.payload.len(), weight(&cast));
        if arrived.push(cast, bytes, weight).is_err() {
            match weight {
                Weight::Droppable => link.broker.counters.casts_undelivered.increment(),
                Weight::Needed => link.eviction_lost(),
            }
        }
    }
}

/// Hands casts to the namespace.
pub(crate) async fn deliver(link: Arc<Link>, mut arrived: Taker<Cast>, local: Weak<dyn Local>) {
    while let Some(cast) = arrived.recv().await {
        // Without the namespace there is nobody whom it could concern.
        if let Some(local) = local.upgrade()
            && !link.is_closed()
        {
            local.receive(cast);
        }
    }
}
