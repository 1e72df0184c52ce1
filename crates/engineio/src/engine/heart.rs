//! The task that turns the wheel: pings, timeouts, and the end of what nobody fetched.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::clock::Micros;
use crate::config::Config;
use crate::session::{Session, Spans};
use crate::wheel::{Entry, Task};

/// How finely the wheel tells times apart: fine enough for the shortest span, coarse enough to cost nothing.
pub(super) fn resolution(config: &Config) -> Duration {
    let shortest = config.ping_interval.min(config.ping_timeout);
    (shortest / 40).clamp(Duration::from_millis(5), Duration::from_millis(250))
}

/// The spans of the heartbeat. A ping goes out one to two ticks early, so that with everything that comes late the sum
/// of both spans, which clients count on, is not exceeded.
pub(super) fn spans(config: &Config) -> Spans {
    let interval = config.ping_interval;
    let early = interval
        .saturating_sub(resolution(config) * 2)
        .max(interval / 2);
    Spans {
        interval: Micros::from(early),
        timeout: Micros::from(config.ping_timeout),
    }
}

/// Turns the wheel until the engine and all its sessions are gone.
pub(super) async fn beat(shared: Weak<Shared>) {
    let Some(resolution) = shared.upgrade().map(|shared| shared.wheel.resolution()) else {
        return;
    };
    let mut ticks = interval(resolution);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Micros::default();
    let mut due = Vec::new();
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let now = shared.clock.now();
        let is_late = now.since(last) > allowed_gap(&shared);
        last = now;
        shared.wheel.turn(now, &mut due);
        let now = shared.wheel.align(now);
        for entry in due.drain(..) {
            shared.come_due(entry, now, is_late);
        }
        if due.capacity() > 1024 {
            due = Vec::new();
        }
    }
}

/// A longer gap between two ticks means that this process did not run, so that pongs may lie unread.
fn allowed_gap(shared: &Shared) -> Micros {
    let ticks = Micros::from(shared.wheel.resolution() * 8);
    ticks.max(Micros(shared.spans.timeout.0 / 2))
}

impl Shared {
    fn come_due(self: &Arc<Self>, entry: Entry, now: Micros, is_late: bool) {
        if entry.task == Task::Farewell {
            self.farewells.remove(&entry.sid);
            return;
        }
        let Some(session) = self.registry.get(&entry.sid) else {
            return;
        };
        match entry.task {
            Task::Heartbeat => {
                if let Some(next) = session.beat(now, is_late) {
                    self.wheel.add(entry.sid, Task::Heartbeat, next);
                }
            }
            Task::Timeout(token) => tell_timeout(&session, token),
            Task::Farewell => {}
        }
    }
}

/// A panic in the layer above must not stop the heart of all the others.
fn tell_timeout(session: &Arc<Session>, token: u32) {
    let Some(connection) = session.connection() else {
        return;
    };
    let told = catch_unwind(AssertUnwindSafe(|| connection.timeout(session, token)));
    if told.is_err() {
        tracing::error!(session = ?session.id(), "a timeout handler panicked; closing its session");
        session.close(crate::close_reason::CloseReason::ForcedServerClose);
    }
}
