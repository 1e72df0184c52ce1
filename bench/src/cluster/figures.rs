//! Everything that is measured on several servers, in its order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::growth::{self, Load, Point};
use super::rooms::{self, Foreign, Round, Sizes, Trips};
use super::sessions::{self, Sessions};
use super::storm::{self, Cause, Storm};
use super::{Link, summary};
use crate::measure::step;
use crate::progress;
use crate::sample::Effort;

const LOGGED: Link = Link::Logged { replicas: 1 };
const THREE: Link = Link::Logged { replicas: 3 };

/// What a server without members is measured with.
const FOREIGN_ROOMS: usize = 1000;
/// A log that is read one message at a time, and a busy one.
pub(super) const FOREIGN_WINDOWS: [usize; 2] = [16, 256];

/// The sizes of a run.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) rooms: Sizes,
    pub(crate) storm: storm::Sizes,
    pub(crate) growth: Effort,
    pub(crate) sessions: usize,
    pub(crate) idle: Duration,
}

/// Everything that was measured; what was not asked for is empty.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) logged: Vec<Round>,
    pub(crate) ephemeral: Vec<Round>,
    pub(crate) redis: Vec<Round>,
    pub(crate) streams: Vec<Round>,
    /// Of each round, with few in flight and with many.
    pub(crate) foreign: Vec<Vec<Foreign>>,
    pub(crate) storms: Vec<Storm>,
    pub(crate) streams_storms: Vec<Storm>,
    pub(crate) kills: Vec<(&'static str, Storm)>,
    pub(crate) three: Vec<Round>,
    pub(crate) three_storms: Vec<Storm>,
    pub(crate) growth: Vec<Point>,
    pub(crate) sessions: Option<Sessions>,
}

pub(crate) fn plan(is_quick: bool) -> Result<Plan> {
    let effort = |warm_up, sample| Effort { warm_up, sample };
    let full = Plan {
        rounds: crate::rounds(if is_quick { 2 } else { 5 })?,
        rooms: Sizes {
            rooms: 100,
            members_each: 10,
            window: 16,
            effort: effort(1.0, 2.0),
            trips: Trips {
                warm_up: 1000,
                sample: 10_000,
            },
        },
        storm: storm::Sizes {
            clients: 1000,
            messages_per_second: 20,
            settle: Duration::from_secs(2),
            measure: Duration::from_secs(3),
        },
        growth: effort(1.0, 3.0),
        sessions: 100_000,
        idle: Duration::from_secs(60),
    };
    if !is_quick {
        return Ok(full);
    }
    Ok(Plan {
        rooms: Sizes {
            effort: effort(0.2, 0.5),
            trips: Trips {
                warm_up: 200,
                sample: 2000,
            },
            ..full.rooms
        },
        storm: storm::Sizes {
            clients: 250,
            ..full.storm
        },
        growth: effort(0.2, 0.5),
        sessions: 10_000,
        idle: Duration::from_secs(10),
        ..full
    })
}

/// Measures the rows that are named.
pub(crate) async fn figures(plan: &Plan, rows: &[&str], began: Instant) -> Result<Figures> {
    let mut figures = Figures::default();
    for row in rows {
        match *row {
            "rooms" => all_rooms(&mut figures, plan, began).await,
            "foreign" => foreign(&mut figures, plan, began).await,
            "storm" => all_storms(&mut figures, plan, began).await,
            "replicas" => replicas(&mut figures, plan, began).await,
            "growth" => growth(&mut figures, plan, began).await,
            _ => many_sessions(&mut figures, plan, began).await,
        }
        .with_context(|| format!("the row {row}"))?;
    }
    Ok(figures)
}

async fn all_rooms(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    for round in 1..=plan.rounds {
        let sides = [
            ("ours, Logged", LOGGED, &mut figures.logged),
            ("Node, Redis", Link::Redis, &mut figures.redis),
            (
                "Node, Redis Streams",
                Link::RedisStreams,
                &mut figures.streams,
            ),
            ("ours, Ephemeral", Link::Ephemeral, &mut figures.ephemeral),
        ];
        for (name, link, rounds) in sides {
            let measured = step("rooms", rooms::round(link, plan.rooms))
                .await
                .context(name)?;
            let line = summary::line(&measured);
            progress(
                began,
                &format!("round {round} of {}: {name}: {line}", plan.rounds),
            );
            rounds.push(measured);
        }
    }
    Ok(())
}

async fn foreign(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    for round in 1..=plan.rounds {
        let costs = rooms::foreign(FOREIGN_ROOMS, &FOREIGN_WINDOWS, plan.rooms.effort);
        let costs = step("a server without members", costs).await?;
        progress(
            began,
            &format!("round {round}: {}", summary::foreign_line(&costs)),
        );
        figures.foreign.push(costs);
    }
    Ok(())
}

async fn all_storms(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    for round in 1..=plan.rounds {
        for (name, link, storms) in [
            ("ours", LOGGED, &mut figures.storms),
            (
                "Node, Redis Streams",
                Link::RedisStreams,
                &mut figures.streams_storms,
            ),
        ] {
            let storm = one_storm(name, link, Cause::Cut, plan, began).await?;
            progress(began, &format!("that was round {round} of {}", plan.rounds));
            storms.push(storm);
        }
    }
    for (name, link) in [
        ("ours", LOGGED),
        ("Node, Redis Streams", Link::RedisStreams),
    ] {
        let storm = one_storm(name, link, Cause::Kill, plan, began).await?;
        figures.kills.push((name, storm));
    }
    Ok(())
}

async fn one_storm(
    name: &str,
    link: Link,
    cause: Cause,
    plan: &Plan,
    began: Instant,
) -> Result<Storm> {
    let storm = step("storm", storm::storm(link, cause, plan.storm)).await;
    let storm = storm.with_context(|| name.to_owned())?;
    progress(
        began,
        &format!("storm ({cause:?}): {name}: {}", summary::storm_line(&storm)),
    );
    Ok(storm)
}

async fn replicas(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    for round in 1..=plan.rounds.min(3) {
        let measured = step("rooms", rooms::round(THREE, plan.rooms)).await?;
        progress(
            began,
            &format!(
                "three replicas, round {round}: {}",
                summary::line(&measured)
            ),
        );
        figures.three.push(measured);
    }
    let storm = one_storm("ours, three replicas", THREE, Cause::Cut, plan, began).await?;
    figures.three_storms.push(storm);
    Ok(())
}

/// The loads of the growth table.
fn loads() -> Vec<Load> {
    let servers = [1, 2, 4, 8].map(|servers| Load {
        servers,
        rooms: 100,
        members_each: 10,
        window: 64,
    });
    let rooms = [100, 1000, 10_000, 100_000].map(|rooms| Load {
        servers: 2,
        rooms,
        members_each: 1,
        window: 64,
    });
    let windows = [16, 256, 1024].map(|window| Load {
        servers: 2,
        rooms: 1000,
        members_each: 1,
        window,
    });
    [servers.as_slice(), &rooms, &windows].concat()
}

async fn growth(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    for load in loads() {
        let point = step("growth", growth::point(load, plan.growth)).await?;
        progress(began, &summary::point_line(&point));
        figures.growth.push(point);
    }
    Ok(())
}

async fn many_sessions(figures: &mut Figures, plan: &Plan, began: Instant) -> Result<()> {
    let sessions = sessions::sessions(plan.sessions, plan.idle).await?;
    progress(began, &summary::sessions_line(&sessions));
    figures.sessions = Some(sessions);
    Ok(())
}
