//! One namespace's link to the other nodes: appends to the log, casts and asks on core subjects, and its sessions.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcluster_socketio::adapter::{Adapter, Answers, Cast, Local, Request};
use chatcluster_socketio::log::{
    AppendDone, AppendError, Appended, Entry, Envelope, Record, Target,
};
use chatcluster_socketio::session::Sessions;
use chatcluster_socketio::{Delivery, NodeId, NotRecovered};
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use crate::cluster::Shared;
use crate::codec;
use crate::ephemeral::Ephemeral;
use crate::names::{bundle_subject, log_subject, token};
use crate::pipeline::{Item, Logged};
use crate::publisher::{HEADROOM, Outgoing, Sharing, Stored};

pub(crate) struct NatsAdapter {
    namespace: Box<str>,
    token: Box<str>,
    /// Where several events of this namespace are published together.
    bundles: Arc<str>,
    delivery: Delivery,
    start_position: u64,
    ephemeral: Ephemeral,
    shared: Arc<Shared>,
}

impl NatsAdapter {
    /// Joins a namespace: it is delivered what the log says from here on, if it is logged.
    pub(crate) fn open(
        shared: Arc<Shared>,
        namespace: &str,
        delivery: Delivery,
        local: Weak<dyn Local>,
    ) -> Self {
        let start_position = match delivery {
            Delivery::Logged => shared.pipeline.follow(namespace, local.clone()),
            Delivery::Ephemeral => 0,
        };
        let ephemeral = Ephemeral::open(shared.broker.clone(), namespace, local);
        Self {
            namespace: namespace.into(),
            token: token(namespace).into(),
            bundles: bundle_subject(&shared.names, namespace).into(),
            delivery,
            start_position,
            ephemeral,
            shared,
        }
    }

    /// A record's event has an id made of the record's key, so that the same message sent to two nodes is one.
    fn sharing(&self, record: Option<&Record>) -> Sharing {
        let Some(record) = record else {
            return Sharing::Under(self.bundles.clone());
        };
        let digest = Sha256::new()
            .chain_update(self.namespace.as_bytes())
            .chain_update([0])
            .chain_update(record.key)
            .finalize();
        Sharing::No {
            id: URL_SAFE_NO_PAD.encode(&digest[..16]),
        }
    }
}

/// What keeps its order: a room, the whole namespace, a session.
fn lane(subject: &str, target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    if let Target::Session(sid) = target {
        sid.hash(&mut hasher);
    }
    hasher.finish()
}

impl Adapter for NatsAdapter {
    fn node(&self) -> &NodeId {
        &self.shared.node
    }

    fn epoch(&self) -> u64 {
        match self.delivery {
            Delivery::Logged => self.shared.pipeline.epoch(),
            Delivery::Ephemeral => 0,
        }
    }

    fn start_position(&self) -> u64 {
        self.start_position
    }

    fn read_log(
        &self,
        after: u64,
        through: u64,
    ) -> BoxFuture<'static, Result<Vec<Arc<Entry>>, NotRecovered>> {
        Box::pin(self.shared.replays.read(&self.token, after, through))
    }

    fn opened(&self) -> BoxFuture<'static, ()> {
        let opened = self.ephemeral.opened();
        Box::pin(async move {
            // False if it is closed before: whoever waits is told by something else.
            let _is_open = opened.await;
        })
    }

    fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        let Shared { names, node, .. } = &*self.shared;
        let subject = log_subject(names, &self.namespace, &envelope, node);
        let lane = lane(&subject, &envelope.target);
        let sharing = self.sharing(record.as_ref());
        let row = record
            .as_ref()
            .map(|record| (self.namespace.clone(), record.key));
        let payload = match codec::encode(&Logged { envelope, record }) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "an event cannot be written for the log");
                return done(Err(AppendError::NotStored));
            }
        };
        if payload.len() + HEADROOM > self.shared.broker.wire.max_payload() {
            return done(Err(AppendError::TooLarge));
        }
        let event = Outgoing {
            subject,
            lane,
            sharing,
            payload,
        };
        let pipeline = self.shared.pipeline.clone();
        let published = move |fate: Result<Stored, AppendError>| {
            let stored = match fate {
                Ok(stored) => stored,
                Err(error) => return done(Err(error)),
            };
            let appended = Appended {
                position: stored.position,
                is_duplicate: stored.is_duplicate,
            };
            match row.filter(|_| stored.was_there) {
                Some((namespace, key)) => pipeline.when_found((&namespace, key), appended, done),
                None => pipeline.when_completed(appended, done),
            }
        };
        self.shared.publisher.publish(event, Box::new(published));
    }

    fn cast(&self, cast: Cast) {
        self.ephemeral.cast(&cast);
        if cast.is_for_others_only() {
            return;
        }
        let own = Item::Own {
            namespace: self.token.clone(),
            cast,
        };
        // Casts are at most once; an eviction has been carried out here before it is cast.
        if self.shared.items.try_send(own).is_err() {
            self.shared.counters.own_casts_dropped.increment();
        }
    }

    fn request(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Answers> {
        self.ephemeral.request(request, timeout)
    }

    fn node_count(&self) -> usize {
        self.shared.broker.peers.count()
    }

    fn members_elsewhere(&self) -> usize {
        self.shared.broker.peers.members()
    }

    fn sessions(&self) -> &dyn Sessions {
        &self.shared.sessions
    }

    fn close(&self) {
        self.shared.pipeline.unfollow(&self.namespace);
        self.ephemeral.close();
    }
}
