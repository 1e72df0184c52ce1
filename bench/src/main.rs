//! The comparison with Node's Socket.IO: both servers in one run, in alternation, ratios instead of absolute figures.
//!
//! Run by `make bench`, from the root of the repository and pinned on core 1; the servers run on core 0. Method and figures
//! go to `bench/report.md`. Environment: `QUICK=1` (short, unsteady, not written to the report), `ROUNDS=N`, `ROWS` (the
//! parts to run, [`Rows`]), `BENCH_TARGET` (folder of the release builds), `BENCH_OURS` (another command in place of ours,
//! to check the method: Node against Node must give ratios near 1).

mod client;
mod cluster;
mod load;
mod machine;
mod measure;
mod process;
mod report;
mod room;
mod sample;
mod single;
mod summary;
mod wire;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use process::{Cores, Recipe};

/// Parts of the comparison with several servers, as `ROWS` names them.
const CLUSTER_ROWS: [&str; 6] = [
    "rooms", "foreign", "storm", "replicas", "growth", "sessions",
];

/// What is run: `ROWS` lists names with commas between them; `nats` is everything with several servers, nothing is all.
struct Rows {
    has_single: bool,
    cluster: Vec<&'static str>,
}

impl Rows {
    fn parse(text: &str) -> Result<Self> {
        let mut rows = Self {
            has_single: text.is_empty(),
            cluster: Vec::new(),
        };
        if text.is_empty() {
            rows.cluster = CLUSTER_ROWS.to_vec();
        }
        for name in text.split(',').filter(|name| !name.is_empty()) {
            match (name, CLUSTER_ROWS.iter().find(|row| **row == name)) {
                ("single", _) => rows.has_single = true,
                ("nats", _) => rows.cluster = CLUSTER_ROWS.to_vec(),
                (_, Some(row)) => rows.cluster.push(row),
                _ => bail!(
                    "ROWS: {name} is none of single, nats, {}",
                    CLUSTER_ROWS.join(", ")
                ),
            }
        }
        Ok(rows)
    }
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
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        // Dropping the comparison kills the server that it runs; dying from the signal would leave it behind.
        tokio::select! {
            result = work(&arguments) => result,
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

async fn work(arguments: &[String]) -> Result<()> {
    match arguments {
        [] => compare().await,
        [name, port, count] if name == "hold" => {
            cluster::sessions::hold(port.parse()?, count.parse()?).await
        }
        _ => bail!("no arguments are taken; the environment says what is run"),
    }
}

async fn compare() -> Result<()> {
    ensure!(
        Path::new("bench/node_modules/socket.io").exists(),
        "run this by `make bench`, from the root of the repository"
    );
    let is_quick = env::var("QUICK").is_ok_and(|value| value == "1");
    let rows = Rows::parse(&env::var("ROWS").unwrap_or_default())?;
    let load = machine::load_average()?;
    let began = Instant::now();
    let mut report = report::Report::read()?;
    if rows.has_single {
        let busy = machine::Busy::start()?;
        let plan = single::plan(is_quick)?;
        let figures = single::figures(&plan, is_quick, began).await?;
        report.put(
            "single",
            &summary::render(&figures, &plan, is_quick, &busy.end(load)?)?,
        );
    }
    if !rows.cluster.is_empty() {
        let busy = machine::Busy::start()?;
        let plan = cluster::figures::plan(is_quick)?;
        let figures = cluster::figures::figures(&plan, &rows.cluster, began).await?;
        report.put(
            "nats",
            &cluster::summary::render(&figures, &plan, is_quick, &busy.end(load)?)?,
        );
    }
    let is_whole = rows.cluster.is_empty() || rows.cluster.len() == CLUSTER_ROWS.len();
    report.finish(!is_quick && is_whole)
}

/// How many rounds are run, if nobody says otherwise.
fn rounds(usual: usize) -> Result<usize> {
    let rounds = match env::var("ROUNDS") {
        Ok(rounds) => rounds.parse().context("ROUNDS is not a number")?,
        Err(_) => usual,
    };
    ensure!(rounds > 0, "ROUNDS must be 1 or more");
    Ok(rounds)
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
        cores: Cores::First,
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
