//! The operator's process: arguments in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use chatcluster_operator::args::{Args, Command};
use chatcluster_operator::{app, telemetry};
use clap::Parser as _;

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
    if let Some(Command::Crd) = args.command {
        let crd = app::crd().context("cannot write the definition")?;
        return Ok(std::io::stdout().write_all(crd.as_bytes())?);
    }
    telemetry::start(args.run.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // It waits for an API server most of the time.
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(app::run(&args.run))
}
