//! The chat server's process: arguments in, exit code out.

use std::process::ExitCode;

use chatcluster_server::args::Args;
use chatcluster_server::{app, settings, telemetry};
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chatcluster-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let config = settings::load(&Args::parse())?;
    telemetry::start(config.log_level)?;
    app::run(&config)
}
