//! The comparison with Node's Socket.IO: both servers in one run, in alternation, ratios instead of absolute figures.
//!
//! Run by `make bench`, from the root of the repository and pinned on core 1; the servers run on core 0. Method and figures
//! go to `bench/report.md`. Environment: `QUICK=1` (short, unsteady, not written to the report), `ROUNDS=N`,
//! `BENCH_TARGET` (folder of the release builds), `BENCH_OURS` (another command in place of ours, to check the method:
//! Node against Node must give ratios near 1).

mod client;
mod load;
mod machine;
mod measure;
mod process;
mod report;
mod room;
mod sample;
mod summary;
mod wire;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use measure::{Plan, Round, Store};
use process::Recipe;
use sample::{Cost, Effort};

const STORE_RUNS: usize = 3;
const FOREIGN_RUNS: usize = 3;

/// Everything that was measured.
struct Figures {
    node: Vec<Round>,
    ours: Vec<Round>,
    foreign_node: Vec<Cost>,
    foreign_ours: Vec<Cost>,
    /// None when another server stands in for ours.
    store: Option<Vec<Store>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        // Dropping the comparison kills the server that it runs; dying from the signal would leave it behind.
        tokio::select! {
            result = compare() => result,
            name = interrupted() => bail!("ended by {}", name?),
        }
    }))
}

/// Resolves when the user or the system ends this run.
async fn interrupted() -> Result<&'static str> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}

async fn compare() -> Result<()> {
    ensure!(
        Path::new("bench/node_modules/socket.io").exists(),
        "run this by `make bench`, from the root of the repository"
    );
    let is_quick = env::var("QUICK").is_ok_and(|value| value == "1");
    let plan = plan(is_quick)?;
    let load_before = machine::load_average()?;
    if load_before > summary::QUIET {
        println!(
            "the load average is {load_before}: others use this machine, the figures will not hold"
        );
    }
    let figures = figures(&plan, is_quick).await?;
    let text = summary::render(&figures, &plan, is_quick, load_before)?;
    println!("\n{text}");
    if is_quick {
        println!("QUICK=1: bench/report.md is left as it is");
    } else {
        std::fs::write("bench/report.md", &text).context("write bench/report.md")?;
        println!("written to bench/report.md");
    }
    Ok(())
}

fn plan(is_quick: bool) -> Result<Plan> {
    let rounds = match env::var("ROUNDS") {
        Ok(rounds) => rounds.parse().context("ROUNDS is not a number")?,
        Err(_) => {
            if is_quick {
                2
            } else {
                5
            }
        }
    };
    ensure!(rounds > 0, "ROUNDS must be 1 or more");
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

async fn figures(plan: &Plan, is_quick: bool) -> Result<Figures> {
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
    let began = Instant::now();
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

fn progress(began: Instant, text: &str) {
    println!("[{:3} s] {text}", began.elapsed().as_secs());
}

/// A server of the workload contract, with recovery on.
fn recipe(command: Vec<String>) -> Recipe {
    let environment = [
        ("PORT", "{port}"),
        ("NODES", "1"),
        ("RECOVERY", "1"),
        ("NODE_ENV", "production"),
    ];
    Recipe {
        command,
        environment: environment
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec(),
    }
}

fn built(name: &str) -> Result<String> {
    let folder =
        env::var_os("BENCH_TARGET").map_or_else(|| PathBuf::from("target/release"), PathBuf::from);
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `make bench`",
        path.display()
    );
    Ok(path.to_string_lossy().into_owned())
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
        },
        admin_port,
        plan,
    )
    .await
}
