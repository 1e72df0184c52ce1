//! Taking a stored session over: whose it is, how far its client has come, and who else wants it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Arrival, Wanted, not_recovered};
use crate::config::Recovery;
use crate::counters::NotRecovered;
use crate::namespace::Namespace;
use crate::offset::Offset;
use crate::registry::Missed;
use crate::session::{Ended, Record, Revision, StoreError};
use crate::sid::Pid;

/// How often a takeover looks at a session that its last owner is writing.
const TAKE_ATTEMPTS: usize = 4;
/// Between two looks: what is read may come from a replica that has not got the owner's last write yet.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a takeover waits, before it takes anything, for this node to have read what the client has seen elsewhere. Then
/// what it writes says all; else it is written once more when that is known.
const AHEAD: Duration = Duration::from_millis(250);

/// A stored session that is this node's now.
pub(super) struct Taken {
    pub(super) record: Record,
    pub(super) revision: Revision,
    pub(super) progress: Progress,
    /// What the client misses, as far as it has been looked at.
    pub(super) missed: Missed,
    pub(super) was_connected: bool,
    pub(super) arrival: Arrival,
}

impl Namespace {
    /// Makes a stored session this node's. Its last owner may be writing it at this very moment, because its connection
    /// ends: then what it wrote is looked at anew. Whoever else took it meanwhile keeps it.
    pub(super) async fn take(
        self: &Arc<Self>,
        pid: Pid,
        named: Progress,
        identity: Option<&Arc<str>>,
        recovery: &Recovery,
    ) -> Result<Taken, NotRecovered> {
        if let Progress::At(offset) = named
            && offset.epoch == self.adapter().epoch()
        {
            // If not, the takeover has its own deadline for it.
            let _has_reached = self.reaches(offset.position, AHEAD).await;
        }
        let sessions = self.adapter().sessions();
        let mut takeovers = None;
        for _ in 0..TAKE_ATTEMPTS {
            let (mut record, revision) = match sessions.get(pid.key()).await {
                // Lost with the log that its client still speaks of.
                Err(StoreError::Gone) if self.is_of_another_epoch(named) => {
                    return Err(NotRecovered::Epoch);
                }
                got => got.map_err(not_recovered)?,
            };
            if record.identity.as_ref() != identity {
                return Err(NotRecovered::OtherIdentity);
            }
            match record.ended {
                Some(Ended::Gap) => return Err(NotRecovered::Gap),
                Some(Ended::Epoch) => return Err(NotRecovered::Epoch),
                None => {}
            }
            if *takeovers.get_or_insert(record.takeovers) != record.takeovers {
                return Err(NotRecovered::Fenced);
            }
            let progress = self.progress_in(&record, named)?;
            // From here on, so that whoever takes it next is heard of.
            let arrival = Arrival::begin(self, record.sid);
            let position = progress.position_in(&record);
            let (quiet, missed) = self.registry().lock().survey(&record, position, recovery);
            record.is_caught_up = quiet.is_some();
            record.quiet = quiet.unwrap_or_default();
            record.owner = self.adapter().node().clone();
            record.takeovers = record.takeovers.wrapping_add(1);
            let was_connected = std::mem::replace(&mut record.is_connected, true);
            let was_untouched = std::mem::replace(&mut record.is_untouched, false);
            match sessions.take(pid.key(), revision, record.clone()).await {
                Ok(revision) => {
                    record.is_untouched = was_untouched;
                    return Ok(Taken {
                        record,
                        revision,
                        progress,
                        missed,
                        was_connected,
                        arrival,
                    });
                }
                Err(StoreError::Fenced) => sleep(PAUSE).await,
                Err(error) => return Err(not_recovered(error)),
            }
        }
        Err(NotRecovered::Fenced)
    }

    fn is_of_another_epoch(&self, named: Progress) -> bool {
        matches!(named, Progress::At(offset) if offset.epoch != self.adapter().epoch())
    }

    /// How far the client has come in this session, whose epoch must be the log's.
    ///
    /// The official client never clears its offset: one of another epoch is left over from an earlier session if this one
    /// was sent nothing, and else nobody's guess (semantics 5).
    fn progress_in(&self, record: &Record, named: Progress) -> Result<Progress, NotRecovered> {
        let epoch = self.adapter().epoch();
        match named {
            _ if record.epoch != epoch => Err(NotRecovered::Epoch),
            Progress::At(offset) if offset.epoch == epoch => Ok(named),
            Progress::At(_) if !record.is_untouched => Err(NotRecovered::Epoch),
            Progress::At(_) | Progress::Beginning => Ok(Progress::Beginning),
        }
    }
}

/// What a client says about how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of this session, or not all of the history that it was being sent: the session's start, history again.
    Beginning,
    /// Everything up to here.
    At(Offset),
}

impl Progress {
    /// The position up to which the client has everything of this session.
    pub(super) fn position_in(self, record: &Record) -> u64 {
        match self {
            Self::Beginning => record.start,
            Self::At(offset) => offset.position.max(record.start),
        }
    }
}

/// The offset that a client names: none is fine, someone else's is not.
pub(super) fn progress_of(wanted: &Wanted) -> Result<Progress, NotRecovered> {
    let Some(value) = &wanted.offset else {
        return Ok(Progress::Beginning);
    };
    match value.as_str().and_then(|text| text.parse().ok()) {
        None => Err(NotRecovered::ForeignOffset),
        Some(Offset::UNFINISHED) => Ok(Progress::Beginning),
        Some(offset) => Ok(Progress::At(offset)),
    }
}
