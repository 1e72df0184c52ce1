//! What the figures were measured on and with: nothing here says where or when.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

/// Load average above which others were at work before we began. It is of the last minute: once we have begun, it is ours.
const QUIET_LOAD: f64 = 1.0;
/// Share of all cores above which others were at work meanwhile.
const QUIET_SHARE: f64 = 0.03;

/// Watches what others do on this machine while we measure.
pub(crate) struct Busy {
    before: Times,
}

/// CPU times since the machine was started, in ticks.
#[derive(Clone, Copy)]
struct Times {
    all: f64,
    busy: f64,
    /// Of this process and the children that it has waited for.
    own: f64,
}

impl Busy {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { before: times()? })
    }

    /// The share of all cores that was used since then, by anybody.
    pub(crate) fn share(&self) -> Result<f64> {
        let (before, after) = (self.before, times()?);
        Ok((after.busy - before.busy) / (after.all - before.all).max(1.0))
    }

    /// How busy the machine was, as a paragraph; `load` is what [`load_average`] was before the first section.
    pub(crate) fn end(&self, load: f64) -> Result<String> {
        let (before, after) = (self.before, times()?);
        let (busy, own) = (after.busy - before.busy, after.own - before.own);
        let others = (busy - own).max(0.0) / (after.all - before.all).max(1.0);
        let said = format!(
            "load average {load} before the first section; meanwhile others used {:.0} % of all cores",
            others * 100.0
        );
        Ok(if load > QUIET_LOAD || others > QUIET_SHARE {
            format!("**Busy machine ({said}): not a result.**")
        } else {
            format!("Quiet machine: {said}.")
        })
    }
}

/// Work that others want done on this machine: the load average of the last minute, before anything is measured. Says so if
/// the figures will not hold.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().context("no load average")?;
    let load = first.parse()?;
    if load > QUIET_LOAD {
        println!("the load average is {load}: others use this machine, the figures will not hold");
    }
    Ok(load)
}

fn times() -> Result<Times> {
    let numbers = |text: &str, skip: usize, take: usize| -> Vec<f64> {
        let fields = text.split_whitespace().skip(skip).take(take);
        fields.filter_map(|field| field.parse().ok()).collect()
    };
    let stat = fs::read_to_string("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let cores = numbers(stat.lines().next().unwrap_or_default(), 1, 8);
    let own = fs::read_to_string("/proc/self/stat")?;
    let (_, own) = own
        .rsplit_once(')')
        .context("unknown form of /proc/self/stat")?;
    let own = numbers(own, 11, 4);
    let [_, _, _, idle, waiting, ..] = cores[..] else {
        anyhow::bail!("unknown form of /proc/stat");
    };
    let all: f64 = cores.iter().sum();
    Ok(Times {
        all,
        busy: all - idle - waiting,
        own: own.iter().sum(),
    })
}

/// How many cores the machine has, whatever this process may use.
pub(crate) fn cores() -> usize {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processors = cpus.lines().filter(|line| line.starts_with("processor"));
    processors.count().max(1)
}

/// Lines of a list, for the report.
pub(crate) fn describe() -> Result<Vec<String>> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpus, "model name").unwrap_or("unknown processor");
    let count = cpus
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let gib = field(&memory, "MemTotal")
        .and_then(|total| total.split_whitespace().next()?.parse::<f64>().ok())
        .context("no MemTotal")?
        / 1_048_576.0;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(vec![
        format!(
            "machine: {count} cores of {model}, {gib:.0} GiB, Linux {}",
            kernel.trim()
        ),
        format!(
            "Node {}, socket.io {}, engine.io {}, ws {}",
            output("node", &["--version"])?.trim_start_matches('v'),
            package("socket.io")?,
            package("engine.io")?,
            package("ws")?
        ),
        format!(
            "ours: ChatCluster {}, {}, release profile",
            env!("CARGO_PKG_VERSION"),
            output("rustc", &["--version"])?
        ),
    ])
}

fn field<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
        .map(str::trim)
}

pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The installed version of an npm package.
pub(crate) fn package(name: &str) -> Result<String> {
    let file = format!("bench/node_modules/{name}/package.json");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let version = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix("\"version\": \"")?
            .split('"')
            .next()
    });
    Ok(version
        .with_context(|| format!("{file} has no version"))?
        .to_owned())
}
