//! The process of a server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::Deserialize;

use super::options::{Options, Place, Ports};

/// Names the binary.
const VARIABLE: &str = "CHATCLUSTER_NATS_SERVER";

/// Where `make nats` puts it.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/bin/nats-server");

/// Lines of the log that a failure shows.
const TAIL: usize = 30;

pub(super) struct Process {
    child: Child,
    folder: PathBuf,
    log: PathBuf,
}

impl Process {
    pub(super) fn spawn(place: &Place, options: &Options) -> Self {
        let binary = binary(std::env::var_os(VARIABLE).map(PathBuf::from));
        let binary = binary.unwrap_or_else(|hint| panic!("{hint}"));
        fs::write(place.config(), options.render(place)).expect("a configuration file");
        // Appended to: a failure after a restart shows what went before.
        let log = File::options().create(true).append(true).open(place.log());
        let child = Command::new(&binary)
            .arg("--config")
            .arg(place.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log file"))
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started: {e}", binary.display()));
        Self {
            child,
            folder: place.folder.path().to_owned(),
            log: place.log(),
        }
    }

    /// Whether and how it has ended.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Where it listens, once it has written that down.
    pub(super) fn ports(&self) -> Option<Ports> {
        let name = format!("_{}.ports", self.child.id());
        let mut files = fs::read_dir(&self.folder).ok()?.filter_map(Result::ok);
        let file = files.find(|f| f.file_name().to_string_lossy().ends_with(&name))?;
        // Not written in one piece: half a file is no JSON, and is read again.
        let written: PortsFile = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        Some(Ports {
            client: port(&written.nats)?,
            monitor: port(&written.monitoring)?,
        })
    }

    /// Sends a signal to a process that runs.
    pub(super) fn signal(&mut self, signal: Signal) {
        // Not merely polite: the id of a process that was waited for may be somebody else's by now.
        assert!(self.ended().is_none(), "nats-server runs");
        kill_process(self.pid(), signal).expect("our own process");
    }

    /// Whether it has come to a halt since this was asked last. The signal alone does not say so: its threads halt one after
    /// another, and one that runs may still answer a client.
    pub(super) fn has_halted(&self) -> bool {
        let halted = waitid(
            WaitId::Pid(self.pid()),
            WaitIdOptions::STOPPED | WaitIdOptions::NOHANG,
        );
        halted.expect("a child can be waited for").is_some()
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).ok();
        id.and_then(Pid::from_raw).expect("the id of a process")
    }

    /// Ends it at once, also when it is stopped; nothing to do when it has ended.
    pub(super) fn kill(&mut self) {
        // Either fails only for a child that has been waited for.
        self.child.kill().expect("our own process");
        self.child.wait().expect("a child can be waited for");
    }

    /// The log.
    pub(super) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of the log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where the test waits for a server that ended by itself, the failure has said it.
        let tells = std::thread::panicking() && self.ended().is_none();
        self.kill();
        if tells {
            eprintln!("nats-server's log ends with\n{}", self.log_tail());
        }
    }
}

/// The binary: the named one, or the one that was built.
fn binary(named: Option<PathBuf>) -> Result<PathBuf, String> {
    let path = named.unwrap_or_else(|| Path::new(BUILT).to_owned());
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "there is no nats-server at {}: run `make nats`, or let {VARIABLE} name one",
        path.display()
    ))
}

/// What the server writes down: URLs.
#[derive(Deserialize)]
struct PortsFile {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

fn port(urls: &[String]) -> Option<u16> {
    urls.first()?.rsplit(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_an_error_that_says_what_to_run() {
        let hint = binary(Some("/nowhere/nats-server".into())).unwrap_err();
        assert!(hint.contains("/nowhere/nats-server"), "{hint}");
        assert!(hint.contains("make nats"), "{hint}");
    }
}
