//! One sample: how much CPU a server needs for each thing it did, while a closed loop keeps it busy.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::{Cpu, Server};

/// How often the load is looked at; small against a sample.
const LOOK: Duration = Duration::from_millis(20);
/// A load that does not come to its CPU time by then is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long samples are.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// CPU seconds of the server before the sample starts.
    pub(crate) warm_up: f64,
    /// CPU seconds of the server that a sample has at least.
    pub(crate) sample: f64,
}

/// CPU per thing done.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
}

impl Cost {
    pub(crate) fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }
}

/// Watches `done`, which a running load counts up, until the server has used enough CPU.
pub(crate) async fn cost(server: &Server, effort: Effort, done: &Cell<u64>) -> Result<Cost> {
    let cold = server.cpu()?;
    used(server, cold, effort.warm_up).await?;
    let (cpu, count) = (server.cpu()?, done.get());
    used(server, cpu, effort.sample).await?;
    let (cpu, count) = (server.cpu()?.since(cpu), done.get() - count);
    ensure!(count > 0, "the load did nothing");
    let each = 1e6 / count as f64;
    Ok(Cost {
        user_us: cpu.user * each,
        system_us: cpu.system * each,
    })
}

/// Returns when the server has used `seconds` of CPU since `start`.
async fn used(server: &Server, start: Cpu, seconds: f64) -> Result<()> {
    let began = Instant::now();
    while server.cpu()?.since(start).total() < seconds {
        ensure!(
            began.elapsed() < DEADLINE,
            "the server used less than {seconds} CPU-s in {DEADLINE:?}: the load is stuck"
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
