//! The chat server's process: arguments in, exit code out.

use std::process::ExitCode;

use chatcluster_server::args::{Args, Command, DrainArgs};
use chatcluster_server::{app, drain, settings, telemetry};
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
    let args = Args::parse();
    if let Some(Command::Drain(args)) = &args.command {
        return drain(args);
    }
    let source = settings::load(args)?;
    telemetry::start(source.config().log_level)?;
    app::run(source)
}

fn drain(args: &DrainArgs) -> anyhow::Result<()> {
    let address = settings::admin_address(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut out = std::io::stdout();
    runtime.block_on(drain::command::drain(address, &mut out))?;
    Ok(())
}
