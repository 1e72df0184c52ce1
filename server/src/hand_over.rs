//! A server that alone has lost NATS gives its clients to the others: it cannot serve them, and they can.
//!
//! Whether they can is asked past NATS, at their relay. Where nobody can, clients stay and catch up later.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_chat_api as api;
use chatcluster_engineio::CloseReason;
use chatcluster_socketio::SocketIo;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::membership::Membership;

/// How often it is looked whether the log is read, and connections are closed.
const TICK: Duration = Duration::from_millis(100);
/// Between two questions to the others.
const ASK: Duration = Duration::from_secs(1);

/// Looks after the clients of a server until it ends; does nothing without a grace or a relay.
pub async fn run(membership: Arc<Membership>, io: SocketIo, config: &api::Config) {
    let grace = config.nats.as_ref().and_then(|nats| nats.hand_over_grace);
    let (Some(grace), Some(relay)) = (grace, membership.relay().cloned()) else {
        return std::future::pending().await;
    };
    let per_tick = (f64::from(config.drain.rate) * TICK.as_secs_f64()).max(0.05);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Since when another one reads the log and this one does not: at the end of an outage of all, some are faster.
    let mut alone_since: Option<Instant> = None;
    let mut asked_at: Option<Instant> = None;
    let mut owed = 0.0;
    loop {
        ticks.tick().await;
        if membership.reads_the_log() {
            if membership.is_handed_over() {
                membership.hand_over(false);
                tracing::info!("the log is read again: clients are let in");
            }
            (alone_since, asked_at, owed) = (None, None, 0.0);
            continue;
        }
        let is_due = asked_at.is_none_or(|at| at.elapsed() >= ASK);
        if !membership.is_handed_over() && is_due {
            asked_at = Some(Instant::now());
            if relay.another_reads().await {
                let since = *alone_since.get_or_insert_with(Instant::now);
                membership.hand_over(since.elapsed() >= grace);
            } else {
                alone_since = None;
            }
            if membership.is_handed_over() {
                let sessions = io.engine().session_count();
                tracing::warn!(
                    sessions,
                    "this server alone cannot read the log: its clients go to the others"
                );
            }
        }
        if membership.is_handed_over() {
            owed += per_tick;
            for session in io.engine().sessions().into_iter().take(owed as usize) {
                session.close(CloseReason::ServerShuttingDown);
                owed -= 1.0;
            }
            owed = owed.min(per_tick.max(1.0));
        }
    }
}
