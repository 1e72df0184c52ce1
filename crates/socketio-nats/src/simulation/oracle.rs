//! The promises, judged by what clients were sent and told, and by what the log was: nothing in here asks a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use chatcluster_socketio::log::Target;

use crate::codec;
use crate::pipeline::Logged;

use super::broker::Kept;
use super::world::World;

/// What all clients know together.
pub(super) struct Book {
    world: Arc<World>,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// What is at an epoch's position, as the first client that was sent it said.
    by_offset: BTreeMap<(u64, u64), u64>,
    /// Where a stored message is, as a client was told.
    acknowledged: BTreeMap<u64, u64>,
    /// Where new sessions were when their connect handler ran.
    connected_at: BTreeMap<String, u64>,
    sessions: Vec<Session>,
    counts: Counts,
    broken: Option<String>,
}

/// What a run showed: without it there would be nothing to judge.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) acknowledged: u64,
    pub(super) repeated: u64,
    pub(super) recovered: u64,
    pub(super) not_recovered: u64,
    /// Messages of the log that held several events.
    pub(super) shared: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.acknowledged += other.acknowledged;
        self.repeated += other.repeated;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
        self.shared += other.shared;
    }
}

/// Whether a session is in a room, from a position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    In,
    Out,
    /// Its client asked for a change and was not told of it.
    Maybe,
}

/// A session as its client knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    pub(super) sid: String,
    /// It began at this position or later.
    begun_after: u64,
    epoch: Option<u64>,
    /// Positions and ids, over all its connections.
    received: Vec<(u64, u64)>,
    rooms: BTreeMap<String, Vec<(u64, Stay)>>,
    /// It is to have everything up to here.
    pub(super) whole_to: Option<u64>,
}

impl Session {
    pub(super) fn new(sid: String, begun_after: u64) -> Self {
        Self {
            sid,
            begun_after,
            ..Self::default()
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.received.last().map_or(0, |(position, _)| *position)
    }

    /// From this position on; what was thought of what is above does not hold any more.
    pub(super) fn stay(&mut self, room: &str, from: u64, stay: Stay) {
        let stays = self.rooms.entry(room.to_owned()).or_default();
        stays.retain(|(position, _)| *position < from);
        stays.push((from, stay));
    }

    /// What was asked for has come: where it was not known whether it had, that stays unknown.
    pub(super) fn settle(&mut self, room: &str, from: u64, stay: Stay) {
        let changes = self.rooms.get(room);
        let asked = changes.and_then(|c| c.last()).map_or(0, |(from, _)| *from);
        self.stay(room, from.max(asked), stay);
    }

    pub(super) fn doubt_rooms(&mut self) {
        let from = self.last();
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.stay(&room, from, Stay::Maybe);
        }
    }

    fn stay_at(&self, room: &str, position: u64) -> Stay {
        if room == self.sid {
            return Stay::In;
        }
        let stays = self.rooms.get(room).into_iter().flatten();
        let known = stays.take_while(|(from, _)| *from < position);
        known.last().map_or(Stay::Out, |(_, stay)| *stay)
    }
}

/// A message of the log, read.
struct Published {
    position: u64,
    id: u64,
    room: Option<String>,
    /// An earlier one has its key.
    is_copy: bool,
}

impl Book {
    pub(super) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world,
            pages: Mutex::default(),
        })
    }

    /// A promise is broken: the first one is kept.
    pub(super) fn fail(&self, what: String) {
        self.world.note(format_args!("BROKEN: {what}"));
        self.pages.lock().broken.get_or_insert(what);
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.pages.lock().broken.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let is_shared = |kept: &&Kept| kept.events().count() > 1;
        let lines = self.world.with(|state| state.broker.lines.clone());
        Counts {
            shared: lines.iter().flatten().filter(is_shared).count() as u64,
            ..self.pages.lock().counts
        }
    }

    pub(super) fn connected(&self, sid: String, position: u64) {
        self.pages
            .lock()
            .connected_at
            .entry(sid)
            .or_insert(position);
    }

    pub(super) fn close(&self, session: Session) {
        self.pages.lock().sessions.push(session);
    }

    pub(super) fn found(&self, is_recovered: bool) {
        let counts = &mut self.pages.lock().counts;
        counts.recovered += u64::from(is_recovered);
        counts.not_recovered += u64::from(!is_recovered);
    }

    /// A client was sent a message.
    pub(super) fn received(&self, session: &mut Session, offset: (u64, u64), id: u64) {
        let (epoch, position) = offset;
        let sid = session.sid.clone();
        if *session.epoch.get_or_insert(epoch) != epoch {
            self.fail(format!("session {sid} goes on in another epoch"));
        }
        if position <= session.last() {
            let last = session.last();
            self.fail(format!("session {sid} is sent {position} after {last}"));
        }
        // A message that was removed from the log is not known any more when it is sent once more.
        let is_known = session.received.iter().any(|(_, known)| *known == id);
        if is_known && !self.world.with(|state| state.has_lost_since(0)) {
            self.fail(format!("session {sid} is sent {id} twice"));
        }
        session.received.push((position, id));
        let mut pages = self.pages.lock();
        pages.counts.received += 1;
        let known = *pages.by_offset.entry(offset).or_insert(id);
        drop(pages);
        if known != id {
            self.fail(format!("{epoch}/{position} is {known} and {id}"));
        }
    }

    /// A client was told where its message is.
    pub(super) fn acknowledged(&self, id: u64, position: u64, is_kept: bool) {
        let is_there = self.world.with(|state| {
            let mut events = state.broker.lines.iter().flatten().flat_map(Kept::events);
            events.any(|(at, event)| at == position && id_of(&event) == Some(id))
        });
        if !is_there {
            self.fail(format!(
                "{id} was acknowledged at {position}, and is not there"
            ));
        }
        let mut pages = self.pages.lock();
        pages.counts.acknowledged += 1;
        let before = pages.acknowledged.insert(id, position);
        pages.counts.repeated += u64::from(before.is_some());
        drop(pages);
        let has_lost = self.world.with(|state| state.has_lost_since(0));
        if let Some(before) = before.filter(|before| *before != position)
            && is_kept
            && !has_lost
        {
            self.fail(format!("{id} is at {before} and at {position}"));
        }
    }

    /// At the end: has each session what it must have, and nothing else?
    pub(super) fn judge(&self) {
        let lines = self.world.with(|state| state.broker.lines.clone());
        let lines: Vec<Vec<Published>> = lines.iter().map(|line| read(line)).collect();
        let has_lost = self.world.with(|state| state.has_lost_since(0));
        let pages = self.pages.lock();
        let (sessions, connected_at) = (pages.sessions.clone(), pages.connected_at.clone());
        drop(pages);
        for session in sessions {
            let connected_at = connected_at.get(&session.sid).copied().unwrap_or(u64::MAX);
            let judge = |line: &Vec<Published>| judge_by(&session, connected_at, line, has_lost);
            // The line that the session lived in is not known: by one of them all must be right.
            let mut wrong = lines.iter().rev().map(judge);
            let first = wrong.next().unwrap_or(Ok(()));
            if let Err(what) = first
                && !wrong.any(|judged| judged.is_ok())
            {
                self.fail(format!("session {}: {what}: {session:?}", session.sid));
            }
        }
    }
}

fn judge_by(
    session: &Session,
    connected_at: u64,
    line: &[Published],
    has_lost: bool,
) -> Result<(), String> {
    let there: BTreeSet<_> = line.iter().map(|p| (p.position, p.id)).collect();
    if let Some(strange) = session.received.iter().find(|r| !there.contains(r)) {
        return Err(format!("{strange:?} is not in the log"));
    }
    let first = session.received.first().map(|(position, _)| *position);
    let start = first
        .filter(|first| *first > session.begun_after && *first <= connected_at)
        .map_or(connected_at, |first| first - 1);
    let end = session.whole_to.unwrap_or(session.last());
    let received: BTreeSet<_> = session.received.iter().copied().collect();
    for published in line {
        let at = (published.position, published.id);
        let stay = match &published.room {
            None => Stay::In,
            Some(room) => session.stay_at(room, published.position),
        };
        // Where rows were lost with the log, a copy may be the first that a node knows.
        let may_be_copy = published.is_copy && has_lost;
        let is_received = received.contains(&at);
        let is_within = published.position > start && published.position <= end;
        if is_received && ((published.is_copy && !has_lost) || stay == Stay::Out) {
            return Err(format!("{at:?} was not for it"));
        }
        if is_within && !is_received && stay == Stay::In && !published.is_copy && !may_be_copy {
            return Err(format!("{at:?} is missing"));
        }
    }
    Ok(())
}

fn read(line: &[Kept]) -> Vec<Published> {
    let mut keys = BTreeSet::new();
    let events = line.iter().flat_map(Kept::events);
    let published = events.filter_map(|(position, event)| {
        let logged: Logged = codec::decode(&event).ok()?;
        let room = match &logged.envelope.target {
            Target::Rooms(rooms) => rooms.first().map(ToString::to_string),
            Target::All | Target::Session(_) => None,
        };
        Some(Published {
            position,
            id: id_of(&event)?,
            room,
            is_copy: logged.record.is_some_and(|record| !keys.insert(record.key)),
        })
    });
    published.collect()
}

/// The argument of the event.
fn id_of(event: &[u8]) -> Option<u64> {
    let logged: Logged = codec::decode(event).ok()?;
    let event = serde_json::to_value(&logged.envelope.event).ok()?;
    let (_, id) = event["json"].as_str()?.split_once(',')?;
    id.parse().ok()
}
