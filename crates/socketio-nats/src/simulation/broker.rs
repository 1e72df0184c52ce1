//! What JetStream keeps: a stream, two buckets, and who reads the stream.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::outside;
use tokio::sync::mpsc;

use crate::cells::{Answer, Change, Found, Page, Stored, Write};
use crate::codec::Events;
use crate::ports::{LogAck, LogMessage, LogState};
use crate::stream::first_sequence;

use super::world::State;

/// How long an id of a message is known: as the stream is made.
const DEDUP_WINDOW: u64 = 30_000;
/// How long the mark of an expiry is kept.
const MARK: u64 = 1000;
/// For how long a replica may answer with what was.
const LAG: u64 = 150;
const PAGE: usize = 256;

pub(super) type Read = Result<LogMessage, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Default)]
pub(super) struct Broker {
    pub(super) log: Option<Log>,
    pub(super) sessions: Bucket,
    pub(super) meta: Bucket,
    consumers: Vec<Consumer>,
    /// All that ever was in the log: each set-back and each new log begins another line.
    pub(super) lines: Vec<Vec<Kept>>,
}

/// A message of the log.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) sequence: u64,
    published: i64,
    subject: String,
    payload: Bytes,
}

impl Kept {
    /// Its events, by position.
    pub(super) fn events(&self) -> Events {
        Events::of(self.sequence, self.payload.clone())
    }
}

pub(super) struct Log {
    created: i64,
    first: u64,
    last: u64,
    entries: VecDeque<Kept>,
    ids: BTreeMap<String, (u64, u64)>,
}

struct Consumer {
    link: usize,
    next: u64,
    into: mpsc::UnboundedSender<Read>,
}

impl Broker {
    pub(super) fn state(&self) -> Option<LogState> {
        self.log.as_ref().map(|log| LogState {
            created: log.created,
            first: log.first,
            last: log.last,
        })
    }

    pub(super) fn ensure(&mut self) -> LogState {
        if let Some(state) = self.state() {
            return state;
        }
        let now = outside::since_1970();
        let first = first_sequence();
        self.log = Some(Log {
            created: i64::try_from(now.as_nanos()).unwrap_or(0),
            first,
            last: first - 1,
            entries: VecDeque::new(),
            ids: BTreeMap::new(),
        });
        self.lines.push(Vec::new());
        LogState {
            created: i64::try_from(now.as_nanos()).unwrap_or(0),
            first,
            last: first - 1,
        }
    }

    pub(super) fn count_since(&self, age: Duration) -> u64 {
        let since = nanoseconds(outside::since_1970().saturating_sub(age));
        let entries = self.log.iter().flat_map(|log| &log.entries);
        entries.filter(|kept| kept.published >= since).count() as u64
    }

    /// `None` if there is no log.
    pub(super) fn append(&mut self, now: u64, kept: (String, String, Bytes)) -> Option<LogAck> {
        let (subject, id, payload) = kept;
        let log = self.log.as_mut()?;
        log.ids.retain(|_, (_, at)| *at + DEDUP_WINDOW > now);
        if let Some((sequence, _)) = log.ids.get(&id) {
            return Some(LogAck {
                sequence: *sequence,
                is_duplicate: true,
            });
        }
        log.last += 1;
        let kept = Kept {
            sequence: log.last,
            published: nanoseconds(outside::since_1970()),
            subject,
            payload,
        };
        log.ids.insert(id, (log.last, now));
        log.entries.push_back(kept.clone());
        let sequence = log.last;
        if let Some(line) = self.lines.last_mut() {
            line.push(kept);
        }
        Some(LogAck {
            sequence,
            is_duplicate: false,
        })
    }

    /// Begins to read; false if there is nothing to read.
    pub(super) fn read(
        &mut self,
        link: usize,
        from: u64,
        into: mpsc::UnboundedSender<Read>,
    ) -> bool {
        let Some(log) = &self.log else {
            return false;
        };
        let next = from.clamp(log.first, (log.last + 1).max(log.first));
        self.consumers.push(Consumer { link, next, into });
        true
    }

    pub(super) fn forget_consumers(&mut self, which: impl Fn(usize) -> bool) {
        self.consumers.retain(|consumer| !which(consumer.link));
    }

    // --- accidents ---

    /// How many messages the log holds.
    pub(super) fn held(&self) -> usize {
        self.log.as_ref().map_or(0, |log| log.entries.len())
    }

    /// The last messages were never written to the disk.
    pub(super) fn set_back(&mut self, count: usize) {
        let Some(log) = &mut self.log else {
            return;
        };
        let left = log.entries.len().saturating_sub(count);
        let lost = log.entries.split_off(left);
        log.last -= lost.len() as u64;
        log.ids.retain(|_, (sequence, _)| *sequence <= log.last);
        let mut line = self.lines.last().cloned().unwrap_or_default();
        line.retain(|kept| kept.sequence <= log.last);
        self.lines.push(line);
    }

    /// The oldest messages go.
    pub(super) fn trim(&mut self, keep: usize) {
        let Some(log) = &mut self.log else {
            return;
        };
        while log.entries.len() > keep {
            log.entries.pop_front();
        }
        log.first = log
            .entries
            .front()
            .map_or(log.last + 1, |kept| kept.sequence);
    }

    pub(super) fn delete(&mut self) {
        self.log = None;
        self.consumers.clear();
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl State {
    /// Sends to who reads what is there for them.
    pub(super) fn pump(&mut self) {
        let Some(log) = &self.broker.log else {
            return;
        };
        let mut out = Vec::new();
        self.broker.consumers.retain(|c| !c.into.is_closed());
        for consumer in &mut self.broker.consumers {
            consumer.next = consumer.next.max(log.first);
            let begin = log
                .entries
                .partition_point(|kept| kept.sequence < consumer.next);
            for kept in log.entries.range(begin..) {
                consumer.next = kept.sequence + 1;
                out.push((consumer.link, consumer.into.clone(), kept.clone()));
            }
        }
        for (link, into, kept) in out {
            let arrive = move |_: &mut State| {
                let message = LogMessage {
                    sequence: kept.sequence,
                    published: kept.published,
                    subject: kept.subject.into(),
                    payload: kept.payload,
                };
                // Who reads may have begun anew.
                let _gone = into.send(Ok(message));
            };
            self.reply(link, 0, Box::new(arrive));
        }
    }
}

/// A bucket: the last entry of each key, and for a moment the one before.
#[derive(Default, Clone)]
pub(super) struct Bucket {
    pub(super) is_there: bool,
    last: u64,
    keys: BTreeMap<String, Key>,
}

#[derive(Clone)]
struct Key {
    found: Found,
    ends_at: Option<u64>,
    written_at: u64,
    before: Option<Found>,
}

impl Bucket {
    fn expire(&mut self, now: u64) {
        let is_over = |key: &Key| key.ends_at.is_some_and(|at| at <= now);
        self.keys
            .retain(|_, key| !(is_over(key) && key.found.is_mark));
        for key in self.keys.values_mut().filter(|key| is_over(key)) {
            self.last += 1;
            key.before = Some(key.found.clone());
            key.found = Found {
                revision: self.last,
                value: Bytes::new(),
                is_mark: true,
                id: None,
            };
            (key.written_at, key.ends_at) = (now, Some(now + MARK));
        }
    }

    pub(super) fn write(&mut self, now: u64, write: &Write) -> Answer {
        self.expire(now);
        let before = self.keys.get(&write.key).map(|key| key.found.clone());
        let current = before.as_ref().map_or(0, |found| found.revision);
        if current != write.expected {
            return Answer::Refused {
                current: Some(current),
            };
        }
        self.last += 1;
        let (value, is_mark, ttl) = match &write.change {
            Change::Put { value, ttl } => (value.clone(), false, *ttl),
            Change::Remove { mark } => (Bytes::new(), true, Some(*mark)),
        };
        let milliseconds = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let key = Key {
            found: Found {
                revision: self.last,
                value,
                is_mark,
                id: Some(write.id),
            },
            ends_at: ttl.map(|ttl| now + milliseconds(ttl)),
            written_at: now,
            before,
        };
        self.keys.insert(write.key.clone(), key);
        Answer::Stored(self.last)
    }

    /// `is_past` asks a replica that is behind.
    pub(super) fn read(&mut self, now: u64, key: &str, is_past: bool) -> Option<Found> {
        self.expire(now);
        let key = self.keys.get(key)?;
        if is_past && key.written_at + LAG > now {
            return key.before.clone();
        }
        Some(key.found.clone())
    }

    pub(super) fn page(&mut self, now: u64, from: u64) -> Page {
        self.expire(now);
        let keys = self
            .keys
            .iter()
            .filter(|(_, key)| key.found.revision >= from);
        let mut entries: Vec<_> = keys
            .map(|(name, key)| Stored {
                key: name.clone(),
                found: key.found.clone(),
            })
            .collect();
        entries.sort_by_key(|stored| stored.found.revision);
        let pending = entries.len().saturating_sub(PAGE);
        entries.truncate(PAGE);
        Page {
            last: entries.last().map_or(0, |stored| stored.found.revision),
            entries,
            pending,
        }
    }
}
