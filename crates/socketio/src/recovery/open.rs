//! A new recoverable session: made at once, stored before its client hears of it.

use std::sync::Arc;

use super::Claim;
use crate::log::Room;
use crate::member::Member;
use crate::namespace::Namespace;
use crate::session::{Interval, Quiet, Record, StoreError};
use crate::sid::{Pid, Sid};
use crate::socket::{Credentials, Socket};

/// A session that is about to be opened. It is made once, however often it has to be stored: an attempt that was not
/// answered may have stored it.
pub(crate) struct Opening {
    pid: Pid,
    record: Record,
}

impl Opening {
    pub(crate) fn sid(&self) -> Sid {
        self.record.sid
    }

    /// Its member: in its rooms from the beginning.
    pub(crate) fn member(&self, socket: Arc<Socket>) -> Member {
        Member::new(socket, &self.record, self.record.start)
    }
}

impl Namespace {
    /// A new session that begins now: what is logged while it is being stored is replayed from here.
    pub(crate) fn opening(&self, credentials: &Credentials) -> Opening {
        let offset = self.registry().lock().offset();
        let start = offset.position;
        let record = Record {
            sid: Sid::random(),
            identity: credentials.identity.clone(),
            owner: self.adapter().node().clone(),
            takeovers: 0,
            epoch: offset.epoch,
            start,
            intervals: stays(&credentials.rooms, start),
            gap_below: 0,
            is_connected: true,
            is_caught_up: true,
            is_untouched: false,
            data: credentials.data.clone(),
            overflowed_at: None,
            quiet: Quiet {
                after: start,
                through: start,
            },
            ended: None,
        };
        Opening {
            pid: Pid::random(),
            record,
        }
    }

    /// Stores a new session, before its client hears of it.
    pub(crate) async fn open_session(&self, new: &Opening) -> Result<Box<Claim>, StoreError> {
        let Opening { pid, record } = new;
        let sessions = self.adapter().sessions();
        let revision = match sessions.create(pid.key(), record.clone()).await {
            // Nobody else knows this key: an earlier attempt was stored.
            Err(StoreError::Fenced) => sessions.get(pid.key()).await?.1,
            created => created?,
        };
        Ok(Claim::new(*pid, revision, record))
    }
}

/// The stays of a session that begins in these rooms.
fn stays(rooms: &[Room], start: u64) -> Vec<Interval> {
    let mut stays: Vec<Interval> = Vec::new();
    for room in rooms {
        if stays.iter().all(|stay| stay.room != *room) {
            stays.push(Interval {
                room: room.clone(),
                joined: start,
                left: None,
                left_at: None,
            });
        }
    }
    stays
}
