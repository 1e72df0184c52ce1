//! A server that alone has lost NATS gives its clients to the others: it cannot serve them, and they can.
//!
//! Whether they can is asked past NATS, at their relay. Where nobody can, clients stay and catch up later.

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::SocketIo;
use tokio::time::{Instant, sleep};

use crate::drain::Pace;
use crate::live::Live;
use crate::membership::Membership;

/// Between two looks at whether the log is read.
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions to the others.
const ASK: Duration = Duration::from_secs(1);

/// Looks after the clients of a server until it ends; does nothing without a grace or a relay.
pub async fn run(membership: Arc<Membership>, io: SocketIo, grace: Option<Duration>, live: &Live) {
    let (Some(grace), Some(relay)) = (grace, membership.relay().cloned()) else {
        return std::future::pending().await;
    };
    // There is one while they are given away.
    let mut pace: Option<Pace> = None;
    // Since when another one reads the log and this one does not: at the end of an outage of all, some are faster.
    let mut alone_since: Option<Instant> = None;
    let mut asked_at: Option<Instant> = None;
    loop {
        match &mut pace {
            Some(pace) => pace.tick().await,
            None => sleep(LOOK).await,
        }
        if membership.reads_the_log() {
            if pace.take().is_some() {
                membership.hand_over(false);
                tracing::info!("the log is read again: clients are let in");
            }
            (alone_since, asked_at) = (None, None);
            continue;
        }
        if let Some(pace) = &mut pace {
            pace.close(std::slice::from_ref(&io));
            continue;
        }
        if asked_at.is_some_and(|at| at.elapsed() < ASK) {
            continue;
        }
        asked_at = Some(Instant::now());
        if !relay.another_reads().await {
            alone_since = None;
            continue;
        }
        if alone_since.get_or_insert_with(Instant::now).elapsed() >= grace {
            membership.hand_over(true);
            pace = Some(Pace::new(live.now().drain.rate));
            let sessions = io.engine().session_count();
            tracing::warn!(
                sessions,
                "this server alone cannot read the log: its clients go to the others"
            );
        }
    }
}
