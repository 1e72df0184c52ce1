//! Reads again what a node held in memory and holds no more, for sessions that come back: once for all that wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::NotRecovered;
use chatcluster_socketio::log::{Entry, Envelope, Record};
use chatcluster_socketio::outside;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::codec;
use crate::follower::Source;
use crate::pipeline::Logged;
use crate::position::{sequence_of, whole_through};
use crate::read_model::ReadModel;

/// How long the first session waits for others that need the log, too.
const GATHER: Duration = Duration::from_millis(20);
/// Sessions that may wait; one more is not recovered.
const WAITING: usize = 16_384;
/// Bytes of messages that one reading may bring; sessions that need more are not recovered.
const MAX_BYTES: usize = 64 << 20;
/// How long one reading may take.
const DEADLINE: Duration = Duration::from_secs(10);

type Outcome = Result<Vec<Arc<Entry>>, NotRecovered>;

/// A session that needs the log above `after` and up to `through`.
pub(crate) struct Wanted {
    /// The namespace's token.
    pub(crate) namespace: Box<str>,
    pub(crate) after: u64,
    pub(crate) through: u64,
    answer: oneshot::Sender<Outcome>,
}

/// Where sessions ask.
pub(crate) struct Replays {
    wanted: mpsc::Sender<Wanted>,
}

/// What a message of the log was, in its namespace.
type Read = HashMap<Box<str>, Vec<Arc<Entry>>>;

impl Replays {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Wanted>) {
        let (wanted, asked) = mpsc::channel(WAITING);
        (Self { wanted }, asked)
    }

    /// Asks for the log; resolves when it has been read, or cannot be.
    pub(crate) fn read(
        &self,
        namespace: &str,
        after: u64,
        through: u64,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted {
            namespace: namespace.into(),
            after,
            through,
            answer,
        };
        let is_asked = self.wanted.try_send(wanted).is_ok();
        async move {
            match answered.await {
                Ok(outcome) => outcome,
                Err(_) if is_asked => Err(NotRecovered::TimedOut),
                Err(_) => Err(NotRecovered::TooMuch),
            }
        }
    }
}

/// Reads for who asks, as long as somebody can.
pub(crate) async fn run(
    source: Source,
    models: HashMap<Box<str>, Arc<dyn ReadModel>>,
    mut asked: mpsc::Receiver<Wanted>,
) {
    let reader = Reader { source, models };
    while let Some(first) = asked.recv().await {
        sleep(GATHER).await;
        let mut waiting = vec![first];
        while let Ok(wanted) = asked.try_recv() {
            waiting.push(wanted);
        }
        reader.serve(waiting).await;
    }
}

struct Reader {
    source: Source,
    models: HashMap<Box<str>, Arc<dyn ReadModel>>,
}

impl Reader {
    /// One reading for all; those that need the most are given up if it is too much.
    async fn serve(&self, mut waiting: Vec<Wanted>) {
        waiting.sort_unstable_by_key(|wanted| wanted.after);
        while !waiting.is_empty() {
            self.source.counters.log_replays.increment();
            let outcome = timeout(DEADLINE, self.read(&waiting)).await;
            match outcome.unwrap_or(Err(NotRecovered::TimedOut)) {
                Ok(read) => {
                    for wanted in waiting.drain(..) {
                        let entries = wanted.of(&read);
                        wanted.tell(Ok(entries));
                    }
                }
                Err(reason) => {
                    let given_up = match reason {
                        // What is too much with the oldest part, or not there any more, may succeed without it.
                        NotRecovered::TooMuch | NotRecovered::Gap => waiting.len().div_ceil(2),
                        // Nobody waits for another deadline.
                        _ => waiting.len(),
                    };
                    for wanted in waiting.drain(..given_up) {
                        wanted.tell(Err(reason));
                    }
                }
            }
        }
    }

    async fn read(&self, waiting: &[Wanted]) -> Result<Read, NotRecovered> {
        let after = waiting.iter().map(|w| w.after).min().unwrap_or(0);
        let through = waiting.iter().map(|w| w.through).max().unwrap_or(0);
        // What a client has of a message of several events is not read for itself.
        let (mut reached, through) = (whole_through(after), sequence_of(through));
        let mut read: Read = waiting
            .iter()
            .map(|w| (w.namespace.clone(), Vec::new()))
            .collect();
        if reached >= through {
            return Ok(read);
        }
        let log = &self.source.ports.log;
        let messages = log.read(reached + 1, Arc::new(|| true)).await;
        let mut messages = messages.map_err(|_| NotRecovered::TimedOut)?;
        let mut bytes = 0;
        while reached < through {
            let message = messages.next().await.and_then(Result::ok);
            let message = message.ok_or(NotRecovered::TimedOut)?;
            if message.sequence != reached + 1 {
                return Err(NotRecovered::Gap);
            }
            reached = message.sequence;
            bytes += message.payload.len();
            if bytes > MAX_BYTES {
                return Err(NotRecovered::TooMuch);
            }
            let namespace = self.source.names.namespace_token(&message.subject);
            let Some(token) = namespace.filter(|token| read.contains_key(*token)) else {
                continue;
            };
            let age = message.age(outside::since_1970());
            for (position, event) in message.events() {
                let Some(envelope) = self.envelope(token, position, &event).await else {
                    continue;
                };
                if let Some(entries) = read.get_mut(token) {
                    entries.push(Arc::new(Entry::aged(position, envelope, age)));
                }
            }
        }
        Ok(read)
    }

    /// What an event says; `None` if it was delivered to nobody.
    async fn envelope(&self, namespace: &str, position: u64, event: &Bytes) -> Option<Envelope> {
        let logged = codec::decode::<Logged>(event).ok()?;
        let is_copy = self.is_copy(namespace, position, logged.record.as_ref());
        (!is_copy.await).then_some(logged.envelope)
    }

    /// Whether the row with a lower position has made this one void: then it was delivered to nobody.
    async fn is_copy(&self, namespace: &str, position: u64, record: Option<&Record>) -> bool {
        let (Some(model), Some(record)) = (self.models.get(namespace), record) else {
            return false;
        };
        let first = model.position_of(record.key).await;
        first.is_some_and(|first| first < position)
    }
}

impl Wanted {
    /// Its own part of what was read.
    fn of(&self, read: &Read) -> Vec<Arc<Entry>> {
        let entries = read.get(&self.namespace).map_or(&[][..], Vec::as_slice);
        let from = entries.partition_point(|entry| entry.position <= self.after);
        let to = entries.partition_point(|entry| entry.position <= self.through);
        entries[from..to.max(from)].to_vec()
    }

    fn tell(self, outcome: Outcome) {
        // Who asked may have gone.
        let _gone = self.answer.send(outcome);
    }
}
