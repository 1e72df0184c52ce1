//! Connection state recovery: claiming a session, keeping its record true, giving it back (semantics 15 to 19).

mod arrival;
mod claim;
mod open;
mod release;
mod take;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chatcluster_engineio::CloseReason;
use serde::Deserialize;

use crate::adapter::{Cast, Swept};
use crate::config::Recovery;
use crate::counters::NotRecovered;
use crate::member::{Member, Place};
use crate::namespace::Namespace;
use crate::namespace::lifecycle::go_on;
use crate::registry::{Missed, Older, Placed};
use crate::session::{Record, Revision, StoreError};
use crate::sid::{Pid, Sid};
use crate::socket::{DisconnectReason, Socket};
pub(crate) use arrival::{Arrival, Arrivals};
pub(crate) use claim::Claim;
use claim::Written;
pub(crate) use open::Opening;
use release::Release;
use take::{Progress, Taken, progress_of};

/// How long a takeover waits for this node's pipeline to reach what the client has seen elsewhere.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(2);
/// How often the log is read for one session, because the window has moved on meanwhile.
const LOG_READS: usize = 3;

/// What a client says in CONNECT about the session that it had.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pid: Option<serde_json::Value>,
    #[serde(default)]
    offset: Option<serde_json::Value>,
}

impl Wanted {
    pub(crate) fn of(auth: Option<&str>) -> Self {
        auth.and_then(|auth| serde_json::from_str(auth).ok())
            .unwrap_or_default()
    }

    /// True if the client wants a session back, whether or not it can have it.
    pub(crate) fn is_some(&self) -> bool {
        self.pid.is_some()
    }
}

/// A session that was taken over, and where its replay begins.
pub(crate) struct Recovered {
    pub(crate) record: Record,
    pub(crate) claim: Box<Claim>,
    pub(crate) from: u64,
    /// What comes before what this node holds.
    pub(crate) older: Option<Box<Older>>,
    /// Its previous connection had not ended.
    pub(crate) was_connected: bool,
    /// The client has not seen the beginning of the session: what came before it, it may lack too.
    pub(crate) lacks_history: bool,
    /// Kept until its socket can be found.
    pub(crate) arrival: Arrival,
}

impl Namespace {
    /// Takes over the session that an authenticated client asks for.
    pub(crate) async fn recover(
        self: &Arc<Self>,
        wanted: &Wanted,
        identity: Option<&Arc<str>>,
        recovery: &Recovery,
    ) -> Result<Recovered, NotRecovered> {
        let pid = wanted
            .pid
            .as_ref()
            .and_then(|p| p.as_str())
            .and_then(Pid::parse);
        let pid = pid.ok_or(NotRecovered::UnknownSession)?;
        let named = progress_of(wanted)?;
        let sessions = self.adapter().sessions();
        let taken = self.take(pid, named, identity, recovery).await?;
        let Taken {
            record,
            revision,
            progress,
            missed,
            was_connected,
            arrival,
        } = taken;
        self.adapter().cast(Cast::Evict {
            sid: record.sid,
            revision,
        });
        // The old connection may be on this very node: it must be gone before the new one is registered.
        self.evict_locally(record.sid, revision);
        let (claim, takeovers) = (Claim::new(pid, revision, &record), record.takeovers);
        let lacks_history = match progress {
            Progress::Beginning => true,
            Progress::At(offset) => offset.position < record.start,
        };
        match self.place(&record, progress, missed, recovery).await {
            Ok((from, older)) => Ok(Recovered {
                record,
                claim,
                from,
                older,
                was_connected,
                lacks_history,
                arrival,
            }),
            Err(reason) => {
                // It was taken from its owner and cannot be continued: it must not linger.
                let removed = sessions.remove(pid.key(), revision, takeovers).await;
                tracing::debug!(
                    reason = reason.as_str(),
                    removed = removed.is_ok(),
                    "a session could not be continued"
                );
                Err(reason)
            }
        }
    }

    /// Where the replay begins, once this node's pipeline has come as far as the client had.
    async fn place(
        &self,
        record: &Record,
        progress: Progress,
        mut missed: Missed,
        recovery: &Recovery,
    ) -> Result<(u64, Option<Box<Older>>), NotRecovered> {
        let from = progress.position_in(record);
        if !self.reaches(record.seen(from), CATCH_UP_DEADLINE).await {
            return Err(NotRecovered::TimedOut);
        }
        let mut older = Older::default();
        let mut reached = from;
        for _ in 0..LOG_READS {
            let placed =
                self.registry()
                    .lock()
                    .place(record, reached, &older, (&mut missed, recovery))?;
            match placed {
                Placed::Held(start) if reached == from => return Ok((start, None)),
                Placed::Held(_) => {
                    self.counters().recovered_from_log.increment();
                    return Ok((from, Some(Box::new(older))));
                }
                Placed::Lacking { after, through } => {
                    let read = self.adapter().read_log(after, through).await?;
                    older.extend(read, through, record);
                    reached = through;
                }
            }
        }
        // The window moves on faster than the log can be read.
        Err(NotRecovered::Gap)
    }

    /// Stores what has changed about a session, if anything has. If somebody else has it by now, this connection ends.
    pub(crate) async fn persist(&self, socket: &Socket) {
        let Some(claim) = &socket.claim else {
            return;
        };
        let mut written = claim.written.lock().await;
        if claim.changes.load(Ordering::Acquire) == written.changes {
            return;
        }
        if let Err(error) = self.store(socket, claim, &mut written).await {
            log_store_error(socket, error);
        }
    }

    /// Stores that the connection of a session stands, if it does: somebody who took this node for gone has ended it. False
    /// if there is nothing to store.
    pub(crate) async fn assert(&self, swept: Swept) -> Result<bool, StoreError> {
        let socket = self.registry().lock().by_sid(swept.sid).cloned();
        let claim = socket.as_ref().and_then(|socket| socket.claim.as_ref());
        let (Some(socket), Some(claim)) = (&socket, claim) else {
            return Ok(false);
        };
        let mut written = claim.written.lock().await;
        // Another claim's, or older than what this one has written.
        if claim.takeovers != swept.takeovers || written.revision >= swept.revision {
            return Ok(false);
        }
        written.revision = swept.revision;
        self.store(socket, claim, &mut written).await
    }

    /// Stores a session as it is now; false if its connection has ended, or ends because the session is somebody else's.
    async fn store(
        &self,
        socket: &Socket,
        claim: &Claim,
        written: &mut Written,
    ) -> Result<bool, StoreError> {
        // Before the record is made: what changes after that is stored by whoever changes it.
        let changes = claim.changes.load(Ordering::Acquire);
        let Some(record) = self.record_of(socket, claim) else {
            return Ok(false);
        };
        let sessions = self.adapter().sessions();
        match sessions.update(claim.key, written.revision, record).await {
            Ok(revision) => {
                *written = Written { revision, changes };
                claim.last_revision.store(revision, Ordering::Release);
                Ok(true)
            }
            Err(StoreError::Fenced | StoreError::Gone) => {
                self.lose(socket);
                Ok(false)
            }
            Err(error @ StoreError::Unreachable) => Err(error),
        }
    }

    fn record_of(&self, socket: &Socket, claim: &Claim) -> Option<Record> {
        let place = self.registry().lock().place_of(socket.slot(), socket)?;
        Some(self.record_at(place, socket, claim))
    }

    fn record_at(&self, place: Place, socket: &Socket, claim: &Claim) -> Record {
        Record {
            sid: socket.id(),
            identity: socket.identity().cloned(),
            owner: self.adapter().node().clone(),
            takeovers: claim.takeovers,
            epoch: place.epoch,
            start: place.start,
            intervals: place.intervals,
            gap_below: place.gap_below,
            is_connected: socket.is_connected(),
            is_caught_up: place.is_caught_up || !claim.is_late(),
            is_untouched: place.is_untouched && !socket.is_connected(),
            data: socket.data_json(),
            overflowed_at: claim.overflowed_at(),
            quiet: place.quiet,
            ended: None,
        }
    }

    /// The connection ended: the session waits for its client, or ends with it.
    pub(crate) fn release(
        &self,
        socket: &Arc<Socket>,
        place: Option<Place>,
        reason: DisconnectReason,
    ) {
        if let Some(place) = place {
            go_on(Box::pin(self.let_go(socket, place, reason)));
        }
    }

    /// As [`Namespace::release`]; resolves when the session store knows.
    pub(crate) fn let_go(
        &self,
        socket: &Arc<Socket>,
        place: Place,
        reason: DisconnectReason,
    ) -> impl Future<Output = ()> + Send + use<> {
        let claim = socket.claim.as_ref();
        let record = claim.map(|claim| self.record_at(place, socket, claim));
        let adapter = self.adapter().clone();
        let window = self.config().recovery.as_ref().map(|r| r.window);
        let socket = socket.clone();
        async move {
            let (Some(claim), Some(record)) = (&socket.claim, record) else {
                return;
            };
            // A write that is under way is waited for.
            let revision = claim.written.lock().await.revision;
            let given_up = claim.given_up.get().copied();
            // A session that has ended for a reason is kept with that.
            let is_kept = reason.is_recoverable() && given_up != Some(None);
            let release = Release {
                key: claim.key,
                revision,
                record: Record {
                    ended: given_up.flatten(),
                    ..record
                },
                window: window.filter(|_| is_kept),
            };
            // Fenced or gone: the client is back already, elsewhere or here.
            if release.store(&*adapter).await == Err(StoreError::Unreachable) {
                log_store_error(&socket, StoreError::Unreachable);
                tokio::spawn(release.store_later(adapter));
            }
        }
    }

    /// Somebody has taken a session with this revision: who has it here, or is about to have it, must go.
    pub(crate) fn evict_locally(&self, sid: Sid, revision: Revision) {
        let socket = {
            let mut registry = self.registry().lock();
            registry.arrivals.note(sid, revision);
            registry.by_sid(sid).cloned()
        };
        if let Some(socket) = socket {
            self.evict(&socket, revision);
        }
    }

    /// Somebody else has the session with this revision: the older connection closes, without telling the client `41`.
    pub(crate) fn evict(&self, socket: &Arc<Socket>, revision: Revision) {
        let is_stale = socket
            .claim
            .as_ref()
            .is_some_and(|claim| claim.last_revision.load(Ordering::Acquire) < revision);
        if is_stale {
            self.counters().evictions.increment();
            socket.mark_taken_over();
            self.disconnected(
                socket,
                DisconnectReason::Connection(CloseReason::TransportClose),
            );
            socket.session().close(CloseReason::TransportClose);
        }
    }

    fn lose(&self, socket: &Socket) {
        self.counters().evictions.increment();
        socket.mark_taken_over();
        socket.session().close(CloseReason::TransportClose);
    }

    /// A member that continues where the session was.
    pub(crate) fn continued(
        socket: Arc<Socket>,
        record: &Record,
        from: u64,
        older: Option<Box<Older>>,
    ) -> Member {
        let mut member = Member::new(socket, record, from);
        member.older = older;
        member.is_untouched = record.is_untouched;
        member
    }
}

fn not_recovered(error: StoreError) -> NotRecovered {
    match error {
        StoreError::Gone => NotRecovered::UnknownSession,
        StoreError::Fenced => NotRecovered::Fenced,
        StoreError::Unreachable => NotRecovered::Unreachable,
    }
}

/// Logs what a session store said where nothing else can be done about it.
fn log_store_error(socket: &Socket, error: StoreError) {
    tracing::warn!(socket.id = %socket.id(), %error, "a session could not be written");
}
