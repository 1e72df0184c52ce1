//! Publishes to the log: in the order of the calls, again until it is acknowledged or too late, and never twice.
//!
//! Messages go out in their order, several at a time, over one connection: the log has them in that order. A room, the
//! whole namespace, and a session are each a lane. What is in a lane is in one message at a time, and whatever is behind
//! the next one of a busy lane waits with it: a retry can then not be overtaken by what was sent to the same room after it
//! (semantics 14). While something is tried again nothing new goes out. Every attempt of a message carries the same id, so
//! that JetStream stores it once.
//!
//! What waits goes out together: a message holds as many events as are next and may share one (ADR 37). While some messages
//! are on their way, events gather. The slower the log is to acknowledge, the more it is given at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::log::AppendError;
use chatcluster_socketio::outside;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::codec;
use crate::counters::Counters;
use crate::gate::Gate;
use crate::ports::{Log, LogAck, Wire};
use crate::position::PLACES;

mod message;

use message::{Job, Message};
pub(crate) use message::{Outgoing, Published, Sharing, Stored};

/// Events that may wait for their acknowledgement; beyond it appends are refused as busy.
const MAX_WAITING: usize = 1 << 16;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Messages on their way at a time.
const MAX_SENT: usize = 256;
/// While so many are on their way, what may share a message waits for others to share it with.
const GATHERING: usize = 8;
/// Bytes of the events that share a message: more would keep others waiting behind it for little.
const MAX_SHARED: usize = 64 << 10;
/// What a message may have beside its payload: subject, id, protocol.
pub(crate) const HEADROOM: usize = 1024;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long an event is tried: longer than JetStream takes to elect a leader (4 to 9 s).
const DEADLINE: Duration = Duration::from_secs(12);
/// Events that share a message were taken within this time: it is tried until the first of them is given up.
const SPREAD: Duration = Duration::from_secs(1);
/// How often what waits is looked at, if nothing else happens.
const LATE: Duration = Duration::from_millis(500);
/// Between two attempts, doubled each time up to the second figure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

pub(crate) struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Publisher {
    /// Starts the task that publishes; it ends when the publisher is closed and everything has its fate.
    pub(crate) fn spawn(
        (log, wire): (Arc<dyn Log>, Arc<dyn Wire>),
        gate: Gate,
        counters: Arc<Counters>,
    ) -> Self {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let lanes = Lanes {
            log,
            wire,
            gate,
            counters,
            queue: VecDeque::new(),
            sent: BTreeMap::new(),
            busy: BTreeSet::new(),
            sent_before: 0,
            retrying: 0,
            attempts: FuturesUnordered::new(),
        };
        Self {
            jobs,
            count: Arc::new(Semaphore::new(MAX_WAITING)),
            bytes: Arc::new(Semaphore::new(MAX_WAITING_BYTES)),
            task: Mutex::new(Some(tokio::spawn(lanes.run(waiting)))),
        }
    }

    /// Takes an event; `done` is called at once if it cannot be taken. Must not be called from `done`.
    pub(crate) fn publish(&self, event: Outgoing, done: Published) {
        let size = u32::try_from(event.payload.len() + 256).unwrap_or(u32::MAX);
        let count = self.count.clone().try_acquire_owned();
        let bytes = self.bytes.clone().try_acquire_many_owned(size);
        let (Ok(count), Ok(bytes)) = (count, bytes) else {
            return done(Err(AppendError::Busy));
        };
        let job = Job {
            event,
            done,
            deadline: Instant::now() + DEADLINE,
            _permits: [count, bytes],
        };
        if let Err(refused) = self.jobs.send(job) {
            (refused.0.done)(Err(AppendError::Closed));
        }
    }

    /// Events whose fate is not known.
    pub(crate) fn waiting(&self) -> usize {
        MAX_WAITING - self.count.available_permits()
    }

    /// Ends the task; what has no fate yet has failed.
    pub(crate) fn close(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.close();
    }
}

/// An attempt that has ended.
type Attempt = Pin<Box<dyn Future<Output = (u64, Result<LogAck, Failure>)> + Send>>;

/// Why an attempt did not succeed.
pub(crate) enum Failure {
    /// No attempt can: the server takes no message of this size.
    TooLarge,
    /// The next one may.
    Again(String),
}

struct Lanes {
    log: Arc<dyn Log>,
    wire: Arc<dyn Wire>,
    gate: Gate,
    counters: Arc<Counters>,
    /// Not sent yet, in order.
    queue: VecDeque<Job>,
    /// On their way, by the order in which they were sent first.
    sent: BTreeMap<u64, Message>,
    /// The lanes of what is on its way.
    busy: BTreeSet<u64>,
    /// How many messages there were before the next one.
    sent_before: u64,
    /// Of those on their way, how many are tried again.
    retrying: usize,
    attempts: FuturesUnordered<Attempt>,
}

impl Lanes {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Job>) {
        let mut gate = self.gate.clone();
        let mut late = interval(LATE);
        loop {
            tokio::select! {
                // What is sent makes room for what is new.
                biased;
                Some((number, outcome)) = self.attempts.next() => self.on_outcome(number, outcome),
                () = gate.changed() => {}
                _ = late.tick() => self.drop_late(),
                job = waiting.recv() => match job {
                    Some(job) => self.queue.push_back(job),
                    None if self.attempts.is_empty() => return,
                    None => self.finish_one().await,
                },
            }
            // All that have come, so that they can share.
            while let Ok(job) = waiting.try_recv() {
                self.queue.push_back(job);
            }
            self.send();
        }
    }

    async fn finish_one(&mut self) {
        if let Some((number, outcome)) = self.attempts.next().await {
            self.on_outcome(number, outcome);
        }
    }

    /// Sends from the front of the queue as far as nothing holds it up.
    fn send(&mut self) {
        while self.retrying == 0 && self.attempts.len() < MAX_SENT && self.gate.is_open() {
            let count = self.next_count();
            if count == 0 {
                return;
            }
            let jobs: Vec<Job> = self.queue.drain(..count).collect();
            self.busy.extend(jobs.iter().map(|job| job.event.lane));
            let number = self.sent_before;
            self.sent_before += 1;
            self.sent.insert(number, Message::of(jobs));
            self.attempt(number, Duration::ZERO);
        }
    }

    /// How many events from the front of the queue the next message holds; 0 while they wait.
    fn next_count(&self) -> usize {
        let most = MAX_SHARED.min(self.wire.max_payload().saturating_sub(HEADROOM));
        let Some(first) = self.queue.front() else {
            return 0;
        };
        let (mut count, mut bytes) = (0, 0);
        for job in &self.queue {
            bytes += codec::OVERHEAD + job.event.payload.len();
            let is_fit = count == 0 || bytes <= most && first.may_share(job, SPREAD);
            if !is_fit || self.busy.contains(&job.event.lane) {
                return count;
            }
            count += 1;
            if count == PLACES as usize || bytes >= most {
                return count;
            }
        }
        // More may come that can share.
        let is_gathering = self.attempts.len() >= GATHERING && first.may_share(first, SPREAD);
        if is_gathering { 0 } else { count }
    }

    fn attempt(&mut self, number: u64, after: Duration) {
        let Some(message) = self.sent.get_mut(&number) else {
            return;
        };
        message.attempts += 1;
        let publish = self
            .log
            .publish(message.subject(), &message.id, message.payload.clone());
        let mut gate = self.gate.clone();
        self.attempts.push(Box::pin(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            let attempt = async {
                let connection = gate.opened().await;
                let outcome = publish.await;
                if outcome.is_ok() && !gate.is_on(connection) {
                    // It may have lain in the buffer, and been written to a log that nobody had looked at.
                    let cause = "the connection was made anew meanwhile";
                    return Err(Failure::Again(cause.to_owned()));
                }
                outcome
            };
            let outcome = timeout(ATTEMPT, attempt).await;
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::Again("timed out".to_owned())));
            (number, outcome)
        }));
    }

    fn on_outcome(&mut self, number: u64, outcome: Result<LogAck, Failure>) {
        let Some(message) = self.sent.get(&number) else {
            return;
        };
        let fate = match outcome {
            Ok(ack) => Ok(ack),
            Err(Failure::TooLarge) if message.is_one_event_tried_once() => {
                Err(AppendError::TooLarge)
            }
            Err(Failure::Again(cause)) if Instant::now() < message.deadline() => {
                self.counters.publish_retries.increment();
                tracing::debug!(
                    attempt = message.attempts,
                    cause,
                    "a publish is tried again"
                );
                self.retrying += usize::from(message.attempts == 1);
                let wait = back_off(message.attempts);
                return self.attempt(number, wait);
            }
            Err(Failure::Again(cause)) => Err(self.give_up(message, &cause)),
            Err(Failure::TooLarge) => {
                Err(self.give_up(message, "this server takes less than the one before"))
            }
        };
        self.settle(number, fate);
    }

    /// An attempt of it may have reached the log, or still lie in the connection's buffer.
    fn give_up(&self, message: &Message, cause: &str) -> AppendError {
        let events = message.jobs.len();
        self.counters.publish_failures.add(events as u64);
        tracing::warn!(
            attempts = message.attempts,
            events,
            cause,
            "the log does not answer about an event"
        );
        AppendError::Unanswered
    }

    /// A message has its fate, and its lanes are free.
    fn settle(&mut self, number: u64, fate: Result<LogAck, AppendError>) {
        if let Some(message) = self.sent.remove(&number) {
            self.retrying -= usize::from(message.attempts > 1);
            for job in &message.jobs {
                self.busy.remove(&job.event.lane);
            }
            message.settle(fate);
        }
        self.drop_late();
    }

    /// What has waited for its whole time behind others fails without having been sent.
    fn drop_late(&mut self) {
        let now = Instant::now();
        while self.queue.front().is_some_and(|job| job.deadline <= now) {
            if let Some(job) = self.queue.pop_front() {
                self.counters.publish_failures.increment();
                (job.done)(Err(AppendError::NotStored));
            }
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for message in std::mem::take(&mut self.sent).into_values() {
            message.settle(Err(AppendError::Unanswered));
        }
        for job in self.queue.drain(..) {
            (job.done)(Err(AppendError::Closed));
        }
    }
}

fn back_off(attempts: u32) -> Duration {
    let (first, most) = BACK_OFF;
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(8));
    doubled
        .min(most)
        .mul_f64(0.75 + outside::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests;
