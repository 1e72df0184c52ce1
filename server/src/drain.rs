//! Going away: settle, refuse newcomers, close connections at a pace so that clients come back elsewhere (semantics 23).

use std::time::Duration;

use chatcluster_chat_api as api;
use chatcluster_engineio::{CloseReason, Refusal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use crate::codes::Code;
use crate::node::{Node, refusal};

/// How often connections are closed: the pace is spread over ticks this long.
const TICK: Duration = Duration::from_millis(50);
/// What closing the last connections may take beyond the deadline, of all nodes together.
const LAST: Duration = Duration::from_secs(2);

/// Drains all nodes; resolves when no session is left, or at the deadline. Clients are never told to stay away (`41`).
pub async fn drain(nodes: &[Node], pace: &api::Drain) {
    let begin = Instant::now();
    let deadline = begin + pace.deadline;
    tracing::info!(
        sessions = sessions(nodes),
        deadline_seconds = pace.deadline.as_secs(),
        "draining"
    );
    // Whoever sends clients here learns late that this node is going: they are still served.
    sleep_until((begin + pace.settle).min(deadline)).await;
    for io in nodes.iter().filter_map(Node::io) {
        io.engine().refuse_handshakes(going());
    }
    if timeout_at(deadline, close_paced(nodes, pace.rate))
        .await
        .is_err()
    {
        tracing::warn!(
            sessions = sessions(nodes),
            "the drain deadline has passed; the rest is closed at once"
        );
    }
    let end = Instant::now() + LAST;
    for io in nodes.iter().filter_map(Node::io) {
        io.close(end.saturating_duration_since(Instant::now()))
            .await;
    }
    tracing::info!(seconds = begin.elapsed().as_secs_f32(), "drained");
}

fn going() -> Refusal {
    refusal(Code::Draining)
}

fn sessions(nodes: &[Node]) -> usize {
    nodes
        .iter()
        .filter_map(Node::io)
        .map(|io| io.engine().session_count())
        .sum()
}

async fn close_paced(nodes: &[Node], per_second: u32) {
    let per_tick = (f64::from(per_second) * TICK.as_secs_f64()).max(0.05);
    let mut owed = 0.0;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = Instant::now();
    while sessions(nodes) > 0 {
        ticks.tick().await;
        owed += per_tick;
        let servers = nodes.iter().filter_map(Node::io);
        let open = servers.flat_map(|io| io.engine().sessions());
        for session in open.take(owed as usize) {
            session.close(CloseReason::ServerShuttingDown);
            owed -= 1.0;
        }
        if reported.elapsed() > Duration::from_secs(1) {
            reported = Instant::now();
            tracing::info!(sessions = sessions(nodes), "draining");
        }
    }
}
