//! The chat server, but for what it writes on NATS: that is in the form of the release after this one, which this one reads.
//!
//! For the tests of upgrades (`tests/compat/nats/upgrade.test.mjs`); its arguments are the server's. `drain` it has not.

use chatcluster_server::args::Args;
use chatcluster_server::{app, settings, telemetry};
use chatcluster_socketio_nats::codec;
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    codec::write_as_the_next_release();
    let source = settings::load(Args::parse())?;
    telemetry::start(source.config().log_level)?;
    app::run(source)
}
