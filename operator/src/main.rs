//! The operator's process: arguments in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use chatcluster_operator::args::{Args, Command};
use chatcluster_operator::{app, check, telemetry};
use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chatcluster-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Crd) => {
            let crd = app::crd().context("cannot write the definition")?;
            Ok(std::io::stdout().write_all(crd.as_bytes())?)
        }
        Some(Command::Check) => {
            let said = runtime()?.block_on(check::check(&args.run))?;
            Ok(writeln!(std::io::stdout(), "{said}")?)
        }
        None => {
            telemetry::start(args.run.log)?;
            runtime()?.block_on(app::run(&args.run))
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        // It waits for an API server most of the time.
        .worker_threads(2)
        .enable_all()
        .build()
}
