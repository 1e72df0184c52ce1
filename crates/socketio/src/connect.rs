//! A client's CONNECT: find the namespace, run its middleware, recover or open the session, answer, start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chatcluster_engineio::{CloseReason, Session};
use futures_util::FutureExt as _;
use parking_lot::RwLock;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::config::Recovery;
use crate::counters::NotRecovered;
use crate::event::text_frame;
use crate::io::Inner;
use crate::member::{Member, Place};
use crate::middleware::{ConnectError, Connecting};
use crate::namespace::{Namespace, Setup};
use crate::packet::{Kind, encode};
use crate::recovery::{Claim, Opening, Recovered, Wanted};
use crate::session::{Ended, StoreError};
use crate::socket::{Credentials, DisconnectReason, Link, Origin, Socket};

/// Says whether a name is one of its namespaces.
pub(crate) type Pattern = Box<dyn Fn(&str, &Connecting) -> bool + Send + Sync>;

impl Inner {
    /// Answers a CONNECT; the client's entry for the namespace says `Connecting` until then.
    pub(crate) async fn connect(
        self: Arc<Self>,
        client: Arc<Client>,
        session: Arc<Session>,
        path: Arc<str>,
        auth: Option<Box<str>>,
    ) {
        let wanted = Wanted::of(auth.as_deref());
        let connecting = Arc::new(Connecting::new(path.clone(), session.clone(), auth));
        let admitted = match self.namespace_for(&path, &connecting) {
            Some(namespace) => {
                namespace.opened().await;
                admit(&namespace, &connecting).await.map(|()| namespace)
            }
            None => Err(ConnectError::invalid_namespace()),
        };
        match admitted {
            Ok(namespace) if !session.is_closed() => {
                let credentials = connecting.into_credentials();
                namespace
                    .enter(&client, session, credentials, &wanted)
                    .await;
            }
            Ok(_) => {}
            Err(error) => {
                self.counters().connects_refused.increment();
                client.forget(&path);
                refuse(&session, &path, &error);
            }
        }
    }

    /// The namespace of this name; a pattern that accepts it creates it.
    fn namespace_for(&self, path: &Arc<str>, connecting: &Connecting) -> Option<Arc<Namespace>> {
        if let Some(namespace) = self.namespaces.lock().get(path) {
            return Some(namespace.clone());
        }
        let setup = self.accepting_pattern(path, connecting)?;
        let mut namespaces = self.namespaces.lock();
        if let Some(namespace) = namespaces.get(path) {
            return Some(namespace.clone());
        }
        if namespaces.len() >= self.config().max_dynamic_namespaces {
            tracing::warn!("the bound on dynamic namespaces is reached; a new one was refused");
            return None;
        }
        let namespace = self.open(path, setup);
        namespaces.insert(path.clone(), namespace.clone());
        Some(namespace)
    }

    fn accepting_pattern(&self, path: &str, connecting: &Connecting) -> Option<Arc<RwLock<Setup>>> {
        let patterns = self.patterns.read();
        let accepting = patterns
            .iter()
            .find(|(accepts, _)| accepts(path, connecting));
        accepting.map(|(_, setup)| setup.clone())
    }
}

/// Runs the middleware, one after another.
async fn admit(namespace: &Namespace, connecting: &Arc<Connecting>) -> Result<(), ConnectError> {
    let middlewares = namespace.setup().read().middlewares.clone();
    for middleware in middlewares {
        // A middleware that is no `async` block runs, and can panic, before there is a future.
        let asked = catch_unwind(AssertUnwindSafe(|| middleware(connecting.clone())));
        let answered = match asked {
            Ok(answer) => AssertUnwindSafe(answer).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        match answered {
            Ok(verdict) => verdict?,
            Err(_) => {
                namespace.counters().handler_panics.increment();
                tracing::error!(
                    namespace = namespace.path(),
                    "a middleware panicked; its client is refused"
                );
                return Err(ConnectError::new("try again later"));
            }
        }
    }
    Ok(())
}

fn refuse(session: &Session, path: &str, error: &ConnectError) {
    let payload = serde_json::to_string(error).unwrap_or_else(|_| "{}".to_owned());
    let frames = text_frame(&encode(Kind::ConnectError, path, None, &payload));
    if session.send(&frames).is_err() {
        tracing::debug!(session.id = %session.id(), "a refused client had gone already");
    }
}

/// A connection that ended while its CONNECT was being worked on.
const GONE: DisconnectReason = DisconnectReason::Connection(CloseReason::TransportClose);

/// Between two looks at a session store that does not answer.
const STORE_PAUSE: Duration = Duration::from_millis(250);

/// How long a connection waits for a session store that does not answer.
struct Patience<'a> {
    session: &'a Session,
    until: Instant,
}

impl Patience<'_> {
    /// False if it is over; else a moment later.
    async fn again(&self) -> bool {
        if self.session.is_closed() || Instant::now() >= self.until {
            return false;
        }
        sleep(STORE_PAUSE).await;
        true
    }
}

/// The session that a client gets.
enum Found {
    Old(Recovered),
    /// With a claim if it can be recovered.
    New(Opening, Option<Box<Claim>>),
}

impl Namespace {
    /// Lets an authenticated client in: with its old session if it can have it, else with a new one.
    ///
    /// While the session store cannot be reached it waits: refused, an official client would not try again by itself. In
    /// the end the connection closes, and the client comes back.
    async fn enter(
        self: &Arc<Self>,
        client: &Arc<Client>,
        session: Arc<Session>,
        credentials: Credentials,
        wanted: &Wanted,
    ) {
        let found = match self.find_session(&session, &credentials, wanted).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "a session could not be opened");
                client.forget(self.path());
                return session.close(CloseReason::TransportClose);
            }
        };
        match found {
            Found::Old(recovered) => {
                self.continue_session(client, session, credentials, recovered);
            }
            Found::New(new, claim) => {
                let link = Link::new(session, client);
                let (sid, namespace) = (new.sid(), self.clone());
                let socket = Socket::new(sid, namespace, link, credentials, claim, Origin::New);
                self.begin(client, &socket, new.member(socket.clone()), true);
            }
        }
    }

    async fn find_session(
        self: &Arc<Self>,
        session: &Session,
        credentials: &Credentials,
        wanted: &Wanted,
    ) -> Result<Found, StoreError> {
        let recovery = self
            .recovery()
            .filter(|_| session.handshake().query("recovery").as_deref() != Some("0"));
        let Some(recovery) = recovery else {
            return Ok(Found::New(self.opening(credentials), None));
        };
        let patience = Patience {
            session,
            until: Instant::now() + self.config().connect_timeout,
        };
        if wanted.is_some()
            && let Some(recovered) = self
                .reclaim(credentials, wanted, recovery, &patience)
                .await?
        {
            return Ok(Found::Old(recovered));
        }
        let new = self.opening(credentials);
        loop {
            match self.open_session(&new).await {
                Ok(claim) => return Ok(Found::New(new, Some(claim))),
                Err(StoreError::Unreachable) if patience.again().await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The session that a client had; `None` if it cannot have it any more.
    async fn reclaim(
        self: &Arc<Self>,
        credentials: &Credentials,
        wanted: &Wanted,
        recovery: &Recovery,
        patience: &Patience<'_>,
    ) -> Result<Option<Recovered>, StoreError> {
        let identity = credentials.identity.as_ref();
        let reason = loop {
            match self.recover(wanted, identity, recovery).await {
                Ok(recovered) => return Ok(Some(recovered)),
                Err(NotRecovered::Unreachable) if patience.again().await => {}
                Err(reason) => break reason,
            }
        };
        self.note_not_recovered(reason);
        match reason {
            // It is still there, and its client will come back.
            NotRecovered::Unreachable => Err(StoreError::Unreachable),
            _ => Ok(None),
        }
    }

    fn continue_session(
        self: &Arc<Self>,
        client: &Arc<Client>,
        session: Arc<Session>,
        mut credentials: Credentials,
        recovered: Recovered,
    ) {
        let Recovered {
            record,
            claim,
            from,
            older,
            was_connected,
            lacks_history,
            arrival,
        } = recovered;
        let origin = if was_connected {
            Origin::TookOver
        } else {
            Origin::Returned
        };
        self.counters().recovered.increment();
        credentials.data = record.data.clone();
        let socket = Socket::new(
            record.sid,
            self.clone(),
            Link::new(session, client),
            credentials,
            Some(claim),
            origin,
        );
        self.begin(
            client,
            &socket,
            Self::continued(socket.clone(), &record, from, older),
            lacks_history,
        );
        // Whoever takes the session from here on finds its socket.
        drop(arrival);
    }

    /// Registers the socket and answers CONNECT in one step of the pipeline: nothing can come before the answer.
    fn begin(
        self: &Arc<Self>,
        client: &Arc<Client>,
        socket: &Arc<Socket>,
        mut member: Member,
        lacks_history: bool,
    ) {
        let start = member.start;
        let backfill = self.setup().read().backfill.clone();
        let backfill = backfill.filter(|_| lacks_history);
        member.is_backfilling = backfill.is_some();
        let answer = encode(Kind::Connect, self.path(), None, &answer_to(socket));
        let answer = text_frame(&answer);
        let place = member.place();
        // Before the answer leaves: the client's first event must find its socket.
        if !client.joined(self.path(), socket) {
            return self.abandon(socket, place);
        }
        let (after, older) = {
            let mut registry = self.registry().lock();
            let older = registry.by_sid(socket.id()).cloned();
            let revision = socket.claim.as_ref().map(|claim| claim.revision());
            if revision.is_some_and(|own| registry.arrivals.is_overtaken(socket.id(), own)) {
                drop(registry);
                socket.mark_taken_over();
                return self.abandon(socket, place);
            }
            if member.epoch != registry.offset().epoch {
                // What its client has seen, and where the replay begins, are positions of a log that is no more.
                drop(registry);
                if let Some(claim) = &socket.claim {
                    claim.give_up(Some(Ended::Epoch));
                }
                return self.abandon(socket, place);
            }
            let slot = registry.register(member);
            socket.set_slot(slot);
            if !socket.is_connected() {
                // It ended before it was there to be removed.
                registry.unregister(slot, socket);
                drop(registry);
                return self.release(socket, Some(place), GONE);
            }
            (registry.greet(slot, socket, &answer), older)
        };
        self.finish(after);
        if let (Some(older), Some(claim)) = (older, &socket.claim) {
            self.evict(&older, claim.revision());
        }
        self.start(socket, start, backfill);
    }

    /// A socket that never came to be registered: its connection ends, and its session waits for its client.
    fn abandon(&self, socket: &Arc<Socket>, place: Place) {
        self.disconnected(socket, GONE);
        self.release(socket, Some(place), GONE);
        socket.session().close(CloseReason::TransportClose);
    }

    fn note_not_recovered(&self, reason: NotRecovered) {
        self.counters().not_recovered[reason.index()].increment();
        tracing::debug!(reason = reason.as_str(), "a session was not recovered");
    }
}

fn answer_to(socket: &Socket) -> String {
    let pid = socket.claim.as_ref().map(|claim| claim.pid.reveal());
    match pid {
        Some(pid) => format!(r#"{{"sid":"{}","pid":"{pid}"}}"#, socket.id()),
        None => format!(r#"{{"sid":"{}"}}"#, socket.id()),
    }
}
