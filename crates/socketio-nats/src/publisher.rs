//! Publishes to the log: in the order of the calls, again until it is acknowledged or too late, and never twice.
//!
//! Messages go out in their order, several at a time, over one connection: the log has them in that order. A room, the
//! whole namespace, and a session are each a lane. Of one lane one message is on its way at a time, and whatever is behind
//! the next one of a busy lane waits with it: a retry can then not be overtaken by what was sent to the same room after it
//! (semantics 14). While something is tried again nothing new goes out. Every attempt of a message carries the same id, so
//! that JetStream stores it once.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::log::AppendError;
use chatcluster_socketio::outside;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::counters::Counters;
use crate::gate::Gate;
use crate::ports::{Log, LogAck};

/// Messages that may wait for their acknowledgement; beyond it appends are refused as busy.
const MAX_WAITING: usize = 1 << 16;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Messages on their way at a time.
const MAX_SENT: usize = 256;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a message is tried: longer than JetStream takes to elect a leader (4 to 9 s).
const DEADLINE: Duration = Duration::from_secs(12);
/// How often what waits is looked at, if nothing else happens.
const LATE: Duration = Duration::from_millis(500);
/// Between two attempts, doubled each time up to the second figure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Called once with the fate of a message.
pub(crate) type Published = Box<dyn FnOnce(Result<Stored, AppendError>) + Send>;

/// Where a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) position: u64,
    /// The log had a message with this id before this one was first sent.
    pub(crate) is_duplicate: bool,
    /// The log had one with this id before the last attempt: this position may be that of a copy.
    pub(crate) was_there: bool,
}

/// A message on its way into the log.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    /// All of one lane keep their order.
    pub(crate) lane: u64,
    /// `Nats-Msg-Id`.
    pub(crate) id: String,
    pub(crate) payload: Bytes,
}

struct Job {
    message: Outgoing,
    done: Published,
    deadline: Instant,
    attempts: u32,
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

pub(crate) struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Publisher {
    /// Starts the task that publishes; it ends when the publisher is closed and everything has its fate.
    pub(crate) fn spawn(log: Arc<dyn Log>, gate: Gate, counters: Arc<Counters>) -> Self {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let lanes = Lanes {
            log,
            gate,
            counters,
            queue: VecDeque::new(),
            sent: BTreeMap::new(),
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

    /// Takes a message; `done` is called at once if it cannot be taken. Must not be called from `done`.
    pub(crate) fn publish(&self, message: Outgoing, done: Published) {
        let size = u32::try_from(message.payload.len() + 256).unwrap_or(u32::MAX);
        let count = self.count.clone().try_acquire_owned();
        let bytes = self.bytes.clone().try_acquire_many_owned(size);
        let (Ok(count), Ok(bytes)) = (count, bytes) else {
            return done(Err(AppendError::Busy));
        };
        let job = Job {
            message,
            done,
            deadline: Instant::now() + DEADLINE,
            attempts: 0,
            _count: count,
            _bytes: bytes,
        };
        if let Err(refused) = self.jobs.send(job) {
            (refused.0.done)(Err(AppendError::Closed));
        }
    }

    /// Messages whose fate is not known.
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
    gate: Gate,
    counters: Arc<Counters>,
    /// Not sent yet, in order.
    queue: VecDeque<Job>,
    /// On their way, one of a lane.
    sent: BTreeMap<u64, Job>,
    /// Of those, how many are tried again.
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
                Some((lane, outcome)) = self.attempts.next() => self.on_outcome(lane, outcome),
                () = gate.changed() => self.send(),
                _ = late.tick() => {
                    self.drop_late();
                    self.send();
                }
                job = waiting.recv() => match job {
                    Some(job) => self.enter(job),
                    None if self.attempts.is_empty() => return,
                    None => self.finish_one().await,
                },
            }
        }
    }

    async fn finish_one(&mut self) {
        if let Some((lane, outcome)) = self.attempts.next().await {
            self.on_outcome(lane, outcome);
        }
    }

    fn enter(&mut self, job: Job) {
        self.queue.push_back(job);
        self.send();
    }

    /// Sends from the front of the queue as far as nothing holds it up.
    fn send(&mut self) {
        while self.retrying == 0 && self.attempts.len() < MAX_SENT && self.gate.is_open() {
            let Some(lane) = self.queue.front().map(|job| job.message.lane) else {
                return;
            };
            if self.sent.contains_key(&lane) {
                return;
            }
            if let Some(job) = self.queue.pop_front() {
                self.sent.insert(lane, job);
                self.attempt(lane, Duration::ZERO);
            }
        }
    }

    fn attempt(&mut self, lane: u64, after: Duration) {
        let Some(job) = self.sent.get_mut(&lane) else {
            return;
        };
        job.attempts += 1;
        let message = &job.message;
        let publish = self
            .log
            .publish(&message.subject, &message.id, message.payload.clone());
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
            (lane, outcome)
        }));
    }

    fn on_outcome(&mut self, lane: u64, outcome: Result<LogAck, Failure>) {
        let Some(job) = self.sent.get(&lane) else {
            return;
        };
        let fate = match outcome {
            // An earlier attempt of this very message may be what the log has already.
            Ok(ack) => Ok(Stored {
                position: ack.position,
                is_duplicate: ack.is_duplicate && job.attempts == 1,
                was_there: ack.is_duplicate,
            }),
            Err(Failure::TooLarge) => Err(AppendError::TooLarge),
            Err(Failure::Again(cause)) if Instant::now() < job.deadline => {
                self.counters.publish_retries.increment();
                tracing::debug!(attempt = job.attempts, cause, "a publish is tried again");
                self.retrying += usize::from(job.attempts == 1);
                let wait = back_off(job.attempts);
                return self.attempt(lane, wait);
            }
            Err(Failure::Again(cause)) => {
                self.counters.publish_failures.increment();
                tracing::warn!(
                    attempts = job.attempts,
                    cause,
                    "the log does not answer about an event"
                );
                // An attempt of it may have reached the log, or still lie in the connection's buffer.
                Err(AppendError::Unanswered)
            }
        };
        self.settle(lane, fate);
    }

    /// A message has its fate; what waited for its lane may go.
    fn settle(&mut self, lane: u64, fate: Result<Stored, AppendError>) {
        if let Some(job) = self.sent.remove(&lane) {
            self.retrying -= usize::from(job.attempts > 1);
            (job.done)(fate);
        }
        self.drop_late();
        self.send();
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
        for job in std::mem::take(&mut self.sent).into_values() {
            (job.done)(Err(AppendError::Unanswered));
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
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_nats::{PublishError, Subject, SubscribeError};
    use chatcluster_harness::within;
    use chatcluster_socketio::level::Level;
    use futures_util::future::BoxFuture;
    use tokio::sync::oneshot;

    use super::*;
    use crate::follower::Trouble;
    use crate::ports::{Awaited, Letters, LogMessages, LogState, Wire};
    use crate::stream::StreamError;

    /// A broker whose connections and acknowledgements are the test's.
    struct Broker {
        connection: AtomicU64,
        asked: mpsc::UnboundedSender<oneshot::Sender<LogAck>>,
    }

    impl Wire for Broker {
        fn is_connected(&self) -> bool {
            true
        }
        fn connection(&self) -> u64 {
            self.connection.load(Ordering::Relaxed)
        }
        fn max_payload(&self) -> usize {
            unreachable!("nobody asks")
        }
        fn inbox(&self) -> Subject {
            unreachable!("nobody asks")
        }
        fn subscribe(&self, _: Subject) -> BoxFuture<'_, Result<Letters, SubscribeError>> {
            unreachable!("nobody subscribes")
        }
        fn publish(
            &self,
            _: Subject,
            _: Option<Subject>,
            _: Bytes,
        ) -> BoxFuture<'_, Result<(), PublishError>> {
            unreachable!("nobody casts")
        }
        fn flush(&self) -> BoxFuture<'_, ()> {
            unreachable!("nobody flushes")
        }
    }

    impl Log for Broker {
        fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>> {
            unreachable!("nobody asks")
        }
        fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>> {
            unreachable!("nobody asks")
        }
        fn count_since(&self, _: Duration) -> BoxFuture<'_, Result<u64, Trouble>> {
            unreachable!("nobody asks")
        }
        fn read(&self, _: u64, _: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>> {
            unreachable!("nobody reads")
        }
        fn publish(
            &self,
            _: &str,
            _: &str,
            _: Bytes,
        ) -> BoxFuture<'static, Result<LogAck, Failure>> {
            let asked = self.asked.clone();
            Box::pin(async move {
                let (answer, answered) = oneshot::channel();
                asked.send(answer).unwrap();
                Ok(answered.await.unwrap())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_acknowledged_by_another_connection_is_asked_for_again_once_the_log_was_looked_at()
     {
        let (asked, mut attempts) = mpsc::unbounded_channel();
        let broker = Arc::new(Broker {
            connection: AtomicU64::new(1),
            asked,
        });
        let looked = Arc::new(Level::default());
        looked.set(1);
        let gate = Gate::new(broker.clone(), looked.clone());
        let publisher = Publisher::spawn(broker.clone(), gate, Arc::default());
        let (told, mut fate) = oneshot::channel();
        let message = Outgoing {
            subject: "log".to_owned(),
            lane: 0,
            id: "one".to_owned(),
            payload: Bytes::new(),
        };
        publisher.publish(message, Box::new(|stored| told.send(stored).unwrap()));
        let ack = |is_duplicate| LogAck {
            position: 11,
            is_duplicate,
        };

        let first = within("an attempt", attempts.recv()).await.unwrap();
        broker.connection.store(2, Ordering::Relaxed);
        first.send(ack(false)).unwrap();
        // Longer than any pause between two attempts: the gate holds it up.
        tokio::time::sleep(3 * BACK_OFF.0).await;
        assert!(attempts.try_recv().is_err() && fate.try_recv().is_err());

        looked.set(2);
        let second = within("another attempt", attempts.recv()).await.unwrap();
        second.send(ack(true)).unwrap();
        let stored = within("its fate", fate).await.unwrap().unwrap();
        assert_eq!((stored.position, stored.is_duplicate), (11, false));
    }
}
