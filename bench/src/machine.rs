//! What the figures were measured on and with: nothing here says where or when.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

/// Work that others want done on this machine now: the load average of the last minute.
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split_whitespace().next().context("no load average")?;
    Ok(first.parse()?)
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

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The installed version of an npm package.
fn package(name: &str) -> Result<String> {
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
