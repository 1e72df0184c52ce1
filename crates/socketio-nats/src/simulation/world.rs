//! What happens when: one queue of events in virtual time, one source of chance, one trace. Nothing here knows NATS.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use super::broker::Broker;
use super::links::Links;
use super::random::Random;
use super::weather::Weather;

/// Lines that are kept to be shown when something fails, unless `TRACE` says how many.
const KEPT: usize = 300;

/// Something that happens at its time.
pub(super) type Act = Box<dyn FnOnce(&mut State) + Send>;

/// All of it. Tasks of nodes, clients and the weather meet here.
pub(super) struct World {
    state: Mutex<State>,
    /// The first event may be an earlier one now.
    wake: Notify,
}

pub(super) struct State {
    begun: Instant,
    /// By time, and in order of their making.
    due: BTreeMap<(u64, u64), Act>,
    made: u64,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) links: Links,
    pub(super) broker: Broker,
    pub(super) weather: Weather,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                begun: Instant::now(),
                due: BTreeMap::new(),
                made: 0,
                random: Random::new(seed ^ 0x5eed_0001),
                trace: Trace::new(),
                links: Links::default(),
                broker: Broker::default(),
                weather: Weather::default(),
            }),
            wake: Notify::new(),
        })
    }

    /// Looks at the world or changes it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let next = state.next();
        let outcome = act(&mut state);
        if state.next() != next {
            self.wake.notify_one();
        }
        outcome
    }

    pub(super) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.with(|state| state.note(line));
    }

    /// Lets happen what is due, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                state.catch_up();
                state.next()
            };
            let next = next.map_or(Duration::from_secs(86_400), Duration::from_millis);
            let until = self.state.lock().begun + next;
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

impl State {
    /// Milliseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn at(&mut self, time: u64, act: impl FnOnce(&mut State) + Send + 'static) {
        self.made += 1;
        self.due.insert((time, self.made), Box::new(act));
    }

    pub(super) fn after(&mut self, delay: u64, act: impl FnOnce(&mut State) + Send + 'static) {
        self.at(self.now() + delay, act);
    }

    pub(super) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let now = self.now();
        self.trace.note(now, line);
    }

    fn next(&self) -> Option<u64> {
        self.due.first_key_value().map(|((time, _), _)| *time)
    }

    fn catch_up(&mut self) {
        while self.next().is_some_and(|time| time <= self.now()) {
            if let Some((_, act)) = self.due.pop_first() {
                act(self);
            }
        }
    }
}

/// What happened: all of it as a number, the end of it as text.
pub(super) struct Trace {
    kept: usize,
    hasher: DefaultHasher,
    lines: u64,
    last: VecDeque<String>,
}

impl Trace {
    fn new() -> Self {
        let lines = std::env::var("TRACE").ok();
        Self {
            kept: lines.and_then(|n| n.parse().ok()).unwrap_or(KEPT),
            hasher: DefaultHasher::new(),
            lines: 0,
            last: VecDeque::new(),
        }
    }

    fn note(&mut self, now: u64, line: std::fmt::Arguments<'_>) {
        let mut text = if self.last.len() >= self.kept {
            self.last.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        text.clear();
        let _infallible = write!(text, "{:>4}.{:03} {line}", now / 1000, now % 1000);
        self.hasher.write(text.as_bytes());
        self.lines += 1;
        self.last.push_back(text);
    }

    /// Two runs with the same number were the same.
    pub(super) fn hash(&self) -> (u64, u64) {
        (self.lines, self.hasher.finish())
    }

    pub(super) fn text(&self) -> String {
        let lines: Vec<_> = self.last.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
