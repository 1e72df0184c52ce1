//! One process of each: rounds in alternation, the official client as a second load, the message store.

use std::env;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::measure::{self, Plan, Round, Store};
use crate::process::{self, Cores, Recipe};
use crate::sample::{Cost, Effort};
use crate::{built, progress, recipe, summary};

const STORE_RUNS: usize = 3;
const FOREIGN_RUNS: usize = 3;

/// Everything that was measured.
pub(crate) struct Figures {
    pub(crate) node: Vec<Round>,
    pub(crate) ours: Vec<Round>,
    pub(crate) foreign_node: Vec<Cost>,
    pub(crate) foreign_ours: Vec<Cost>,
    /// None when another server stands in for ours.
    pub(crate) store: Option<Vec<Store>>,
}

/// The sizes of a run, which is short or whole.
pub(crate) fn plan(is_quick: bool) -> Result<Plan> {
    let rounds = crate::rounds(if is_quick { 2 } else { 5 })?;
    let full = Plan {
        rounds,
        idle_connections: 10_000,
        settle: Duration::from_secs(6),
        effort: Effort {
            warm_up: 1.0,
            sample: 2.0,
        },
        echo_sockets: 64,
        room_members: 500,
        room_windows: [1, 4, 32],
        store_senders: 64,
        store_time: Duration::from_secs(5),
    };
    let quick = Plan {
        idle_connections: 2000,
        settle: Duration::from_secs(2),
        effort: Effort {
            warm_up: 0.2,
            sample: 0.5,
        },
        store_time: Duration::from_secs(2),
        ..full.clone()
    };
    Ok(if is_quick { quick } else { full })
}

pub(crate) async fn figures(plan: &Plan, is_quick: bool, began: Instant) -> Result<Figures> {
    let stand_in = env::var("BENCH_OURS").ok();
    let recipes = Recipes {
        node: recipe(vec!["node".into(), "bench/node-server.mjs".into()]),
        ours: recipe(match &stand_in {
            Some(command) => command.split_whitespace().map(String::from).collect(),
            None => vec![built("examples/workload")?],
        }),
    };
    let (foreign_runs, store_runs) = if is_quick {
        (1, 1)
    } else {
        (FOREIGN_RUNS, STORE_RUNS)
    };
    let (node, ours) = rounds(&recipes, plan, began).await?;
    let (foreign_node, foreign_ours) = foreign(&recipes, plan, foreign_runs, began).await?;
    let store = if stand_in.is_none() {
        Some(stores(plan, store_runs, began).await?)
    } else {
        None
    };
    Ok(Figures {
        node,
        ours,
        foreign_node,
        foreign_ours,
        store,
    })
}

/// The two servers of the comparison.
struct Recipes {
    node: Recipe,
    ours: Recipe,
}

async fn rounds(
    recipes: &Recipes,
    plan: &Plan,
    began: Instant,
) -> Result<(Vec<Round>, Vec<Round>)> {
    let (mut node, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        for (name, recipe, rounds) in [
            ("Node", &recipes.node, &mut node),
            ("ours", &recipes.ours, &mut ours),
        ] {
            let measured = measure::round(recipe, plan)
                .await
                .with_context(|| format!("{name}, round {round}"))?;
            progress(
                began,
                &format!(
                    "round {round} of {}: {name}: {}",
                    plan.rounds,
                    summary::line(&measured)
                ),
            );
            rounds.push(measured);
        }
    }
    Ok((node, ours))
}

async fn foreign(
    recipes: &Recipes,
    plan: &Plan,
    runs: usize,
    began: Instant,
) -> Result<(Vec<Cost>, Vec<Cost>)> {
    let (mut node, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        for (name, recipe, costs) in [
            ("Node", &recipes.node, &mut node),
            ("ours", &recipes.ours, &mut ours),
        ] {
            let cost = measure::foreign_echo(recipe, plan)
                .await
                .with_context(|| format!("{name}, official client"))?;
            progress(
                began,
                &format!(
                    "official client: {name}: {:.1} us per echo",
                    cost.total_us()
                ),
            );
            costs.push(cost);
        }
    }
    Ok((node, ours))
}

async fn stores(plan: &Plan, runs: usize, began: Instant) -> Result<Vec<Store>> {
    let mut stores = Vec::new();
    for _ in 0..runs {
        let store = store(plan).await.context("message store")?;
        progress(
            began,
            &format!("store: {:.0} messages/s", store.messages_per_second),
        );
        stores.push(store);
    }
    Ok(stores)
}

/// The chat server on an empty history, its rate limits out of the way.
async fn store(plan: &Plan) -> Result<Store> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        "limits:\n  eventsPerSecond: 1000000\n  eventsBurst: 1000000\n",
    )?;
    let admin_port = process::free_port()?;
    let arguments = [
        ("--listen", "127.0.0.1:{port}".to_owned()),
        ("--admin-listen", format!("127.0.0.1:{admin_port}")),
        ("--nodes", "1".to_owned()),
        (
            "--data-dir",
            folder.path().join("data").to_string_lossy().into_owned(),
        ),
        ("--config", config.to_string_lossy().into_owned()),
        ("--log", "warn".to_owned()),
    ];
    let mut command = vec![built("chatcluster-server")?];
    command.extend(
        arguments
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]),
    );
    measure::store(
        &Recipe {
            command,
            environment: vec![],
            cores: Cores::First,
        },
        admin_port,
        plan,
    )
    .await
}
