//! One sample: how much CPU a server needs for each thing it did, while a closed loop keeps it busy.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::{Cpu, Uses};

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

/// What one of several parts used in a sample, and what they did together.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) cpu: Cpu,
    pub(crate) done: u64,
    pub(crate) seconds: f64,
}

impl Share {
    /// For each thing done.
    pub(crate) fn cost(self) -> Cost {
        let each = 1e6 / self.done as f64;
        Cost {
            user_us: self.cpu.user * each,
            system_us: self.cpu.system * each,
        }
    }
}

/// Watches `done`, which a running load counts up, until the server has used enough CPU.
pub(crate) async fn cost(server: &dyn Uses, effort: Effort, done: &Cell<u64>) -> Result<Cost> {
    let [share] = shares([server], effort, done).await?;
    Ok(share.cost())
}

/// As [`cost`], for parts whose CPU together decides when the sample ends.
pub(crate) async fn shares<const N: usize>(
    parts: [&dyn Uses; N],
    effort: Effort,
    done: &Cell<u64>,
) -> Result<[Share; N]> {
    let cold = used(&parts)?;
    until(&parts, cold, effort.warm_up).await?;
    let (before, count, began) = (used(&parts)?, done.get(), Instant::now());
    until(&parts, before, effort.sample).await?;
    let after = used(&parts)?;
    let (count, seconds) = (done.get() - count, began.elapsed().as_secs_f64());
    ensure!(count > 0, "the load did nothing");
    Ok(std::array::from_fn(|part| Share {
        cpu: after[part].since(before[part]),
        done: count,
        seconds,
    }))
}

fn used<const N: usize>(parts: &[&dyn Uses; N]) -> Result<[Cpu; N]> {
    let mut used = [Cpu::default(); N];
    for (used, part) in used.iter_mut().zip(parts) {
        *used = part.cpu()?;
    }
    Ok(used)
}

/// Returns when the parts have used `seconds` of CPU since `start`.
async fn until<const N: usize>(
    parts: &[&dyn Uses; N],
    start: [Cpu; N],
    seconds: f64,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let used = used(parts)?;
        let sum: f64 = used
            .iter()
            .zip(start)
            .map(|(used, start)| used.since(start).total())
            .sum();
        if sum >= seconds {
            return Ok(());
        }
        ensure!(
            began.elapsed() < DEADLINE,
            "the server used less than {seconds} CPU-s in {DEADLINE:?}: the load is stuck"
        );
        tokio::time::sleep(LOOK).await;
    }
}
