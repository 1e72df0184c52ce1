//! Going away: settle, refuse newcomers, close connections at a pace so that clients come back elsewhere (semantics 23).
//!
//! A signal begins the drain, or `POST /drain` ([`http`](crate::http)); whoever comes second joins it. [`command`] is the
//! other end of `POST /drain`.

pub mod command;

use std::sync::Arc;
use std::time::Duration;

use chatcluster_chat_api as api;
use chatcluster_engineio::{CloseReason, Refusal, Session};
use chatcluster_socketio::SocketIo;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::codes::Code;
use crate::http::Flag;
use crate::metrics::scrape::Sample;
use crate::node::{Entrance, refusal};
use crate::relay::Relay;

/// How often connections are closed: the pace is spread over ticks this long. What a second sees of it is uneven by two ticks.
const TICK: Duration = Duration::from_millis(10);
/// What closing the last connections may take beyond the deadline, of all nodes together.
const LAST: Duration = Duration::from_secs(2);

/// The one drain of a process.
pub struct Drain {
    entrances: Vec<Entrance>,
    relay: Option<Relay>,
    accepting: Flag,
    step: watch::Sender<Step>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Serving,
    Settling,
    Closing,
    Done,
}

/// What an operator is told about the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// It has begun.
    pub draining: bool,
    /// Sessions that are open, and WebSockets of other servers' that come through this one.
    pub sessions: usize,
    /// It has ended: nothing is left, or the deadline has passed.
    pub done: bool,
}

impl Drain {
    /// A drain that has not begun, of nodes some of which may not let clients in yet. `accepting` is taken back when it
    /// begins.
    pub fn new(entrances: Vec<Entrance>, accepting: Flag) -> Self {
        let (step, _) = watch::channel(Step::Serving);
        Self {
            entrances,
            relay: None,
            accepting,
            step,
        }
    }

    /// With what carries other servers' connections: they go at the same pace.
    #[must_use]
    pub fn with_relay(mut self, relay: Option<Relay>) -> Self {
        self.relay = relay;
        self
    }

    /// Begins, unless it has begun: from now on this server is not ready, and a node that does not let clients in never
    /// will. Who called [`Drain::begun`] does the rest.
    pub fn begin(&self) {
        self.accepting.set(false);
        self.entrances.iter().for_each(Entrance::shut);
        self.step.send_if_modified(|step| {
            let begins = *step == Step::Serving;
            if begins {
                *step = Step::Settling;
            }
            begins
        });
    }

    /// Resolves when it has begun.
    pub async fn begun(&self) {
        let mut step = self.step.subscribe();
        let begun = step.wait_for(|step| *step != Step::Serving).await;
        begun.expect("the sender is in self");
    }

    /// How far it is.
    pub fn state(&self) -> State {
        let step = *self.step.borrow();
        State {
            draining: step != Step::Serving,
            sessions: self.sessions(),
            done: step == Step::Done,
        }
    }

    /// What is left, by the step that has to close it.
    pub fn samples(&self) -> Vec<Sample> {
        let left = |step| match *self.step.borrow() {
            current if current == step => self.sessions() as u64,
            _ => 0,
        };
        let help =
            "Connections that the drain has still to close, under the step that is under way";
        vec![
            Sample::gauge("drain_remaining", help, left(Step::Settling))
                .labelled("step", "settle")
                .and("close", left(Step::Closing)),
        ]
    }

    /// Drains all nodes; resolves when no session is left, or at the deadline. Clients are never told to stay away (`41`).
    pub async fn run(&self, pace: &api::Drain) {
        self.begin();
        let begin = Instant::now();
        let deadline = begin + pace.deadline;
        tracing::info!(
            sessions = self.sessions(),
            deadline_seconds = pace.deadline.as_secs(),
            "draining"
        );
        // Whoever sends clients here learns late that this node is going: they are still served.
        sleep_until((begin + pace.settle).min(deadline)).await;
        for server in self.servers() {
            server.engine().refuse_handshakes(going());
        }
        self.step.send_replace(Step::Closing);
        if timeout_at(deadline, self.close_paced(pace.rate))
            .await
            .is_err()
        {
            tracing::warn!(
                sessions = self.sessions(),
                "the drain deadline has passed; the rest is closed at once"
            );
        }
        let end = Instant::now() + LAST;
        for server in self.servers() {
            server
                .close(end.saturating_duration_since(Instant::now()))
                .await;
        }
        self.step.send_replace(Step::Done);
        tracing::info!(seconds = begin.elapsed().as_secs_f32(), "drained");
    }

    fn servers(&self) -> Vec<SocketIo> {
        let open = self.entrances.iter().filter_map(Entrance::io);
        open.cloned().collect()
    }

    fn sessions(&self) -> usize {
        let servers = self.servers();
        let own = servers.iter().map(|server| server.engine().session_count());
        own.sum::<usize>() + self.relay.as_ref().map_or(0, Relay::carried_count)
    }

    async fn close_paced(&self, per_second: u32) {
        let mut pace = Pace::new(per_second);
        let mut reported = Instant::now();
        while self.sessions() > 0 {
            pace.tick().await;
            let left = pace.close(&self.servers());
            if let Some(relay) = &self.relay {
                relay.end_carried(left);
            }
            if reported.elapsed() > Duration::from_secs(1) {
                reported = Instant::now();
                tracing::info!(sessions = self.sessions(), "draining");
            }
        }
    }
}

/// Closes connections so many a second, spread over ticks; clients come back by themselves.
pub struct Pace {
    ticks: Interval,
    per_tick: f64,
    owed: f64,
    /// Those that were open when it looked last, without those that it has closed since.
    open: Vec<Arc<Session>>,
}

impl Pace {
    /// A pace that begins now.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            per_tick: (f64::from(per_second) * TICK.as_secs_f64()).max(0.01),
            owed: 0.0,
            open: Vec::new(),
        }
    }

    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Closes as many as are due by this tick; returns how many more there might have been, which is not saved up.
    pub fn close(&mut self, servers: &[SocketIo]) -> usize {
        let due = self.due();
        let left = self.close_known(due);
        if left == 0 {
            return 0;
        }
        let sessions = servers.iter().flat_map(|server| server.engine().sessions());
        self.open = sessions.collect();
        self.close_known(left)
    }

    fn due(&mut self) -> usize {
        self.owed += self.per_tick;
        let due = self.owed as usize;
        self.owed -= due as f64;
        due
    }

    /// Closes so many of those that it knows of; returns how many they were too few.
    fn close_known(&mut self, mut due: usize) -> usize {
        while due > 0
            && let Some(session) = self.open.pop()
        {
            if !session.is_closed() {
                session.close(CloseReason::ServerShuttingDown);
                due -= 1;
            }
        }
        due
    }
}

fn going() -> Refusal {
    refusal(Code::Draining)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Readiness;

    fn entrances() -> (Entrance, Entrance) {
        let (early, late) = (Entrance::default(), Entrance::default());
        assert!(early.open(SocketIo::builder().build().unwrap()));
        (early, late)
    }

    #[tokio::test]
    async fn any_second_of_ticks_has_the_pace_and_one_more_at_most() {
        let second = (Duration::from_secs(1).as_millis() / TICK.as_millis()) as usize;
        for rate in [1, 7, 99, 100, 101, 250, 5_000] {
            let mut pace = Pace::new(rate);
            let due: Vec<usize> = (0..10 * second).map(|_| pace.due()).collect();
            let sums = due.windows(second).map(|one| one.iter().sum::<usize>());
            let (least, most) = sums.fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
            let rate = rate as usize;
            assert!(
                least + 1 >= rate && most <= rate + 1,
                "{rate}: {least} to {most}"
            );
        }
    }

    #[tokio::test]
    async fn a_node_that_joins_its_cluster_while_it_drains_lets_nobody_in() {
        let (early, late) = entrances();
        let accepting = Readiness::default().flag("accepting", "draining");
        let drain = Drain::new(vec![early, late.clone()], accepting);
        assert_eq!(late.why_not(), Code::Starting);
        drain.begin();
        assert!(!late.open(SocketIo::builder().build().unwrap()));
        assert!(late.io().is_none());
        assert_eq!(late.why_not(), Code::Draining);
        assert_eq!(drain.servers().len(), 1, "who was let in before is drained");
    }
}
