//! A server under test: started on core 0, read through `/proc`, ended by us.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// `USER_HZ`: the unit of CPU times in `/proc/PID/stat` on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of all threads of a process.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }

    /// What the process `pid` has used so far.
    pub(crate) fn of(pid: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .context("read the CPU time of a process")?;
        // The second field is the name in parentheses, which may hold spaces.
        let (_, fields) = stat
            .rsplit_once(')')
            .context("unknown form of /proc/PID/stat")?;
        let mut times = fields.split_whitespace().skip(11).map(str::parse::<f64>);
        let (Some(Ok(user)), Some(Ok(system))) = (times.next(), times.next()) else {
            bail!("unknown form of /proc/PID/stat");
        };
        Ok(Self {
            user: user / TICKS_PER_SECOND,
            system: system / TICKS_PER_SECOND,
        })
    }
}

/// Whatever uses CPU time that a sample counts.
pub(crate) trait Uses {
    /// What it has used so far.
    fn cpu(&self) -> Result<Cpu>;
}

/// Where a process may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// On core 0: the load client has the other one for itself.
    First,
    All,
}

/// How to start a server: a command and its environment; `{port}` in either is the port it gets.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) cores: Cores,
}

/// A running server; killed if dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) pid: String,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server whose readiness is the line READY.
    pub(crate) async fn start(recipe: &Recipe) -> Result<Self> {
        let mut server = Self::spawn(recipe, Stdio::piped())?;
        timeout(START_DEADLINE, server.ready())
            .await
            .with_context(|| format!("{:?} is not ready in time", recipe.command))??;
        Ok(server)
    }

    /// Starts a server whose readiness is that it accepts connections.
    pub(crate) async fn start_listening(recipe: &Recipe) -> Result<Self> {
        let server = Self::spawn(recipe, Stdio::null())?;
        let listens = async {
            while tokio::net::TcpStream::connect(server.address)
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(START_DEADLINE, listens)
            .await
            .with_context(|| format!("{:?} does not listen in time", recipe.command))?;
        Ok(server)
    }

    fn spawn(recipe: &Recipe, stdout: Stdio) -> Result<Self> {
        let port = free_port()?;
        let with_port = |text: &str| text.replace("{port}", &port.to_string());
        let (program, arguments) = recipe.command.split_first().context("an empty command")?;
        // More than there are does no harm; this process itself is pinned, so that all must be said.
        let cores = match recipe.cores {
            Cores::First => "0",
            Cores::All => "0-1023",
        };
        let child = Command::new("taskset")
            .args(["-c", cores, program])
            .args(arguments.iter().map(|argument| with_port(argument)))
            .envs(
                recipe
                    .environment
                    .iter()
                    .map(|(key, value)| (key, with_port(value))),
            )
            .stdin(Stdio::null())
            .stdout(stdout)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let pid = child
            .id()
            .context("the server has ended already")?
            .to_string();
        Ok(Self {
            child,
            pid,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        })
    }

    async fn ready(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line.trim() == "READY" {
                // A full pipe would stall the server; this ends when the server does.
                tokio::spawn(drain(lines));
                return Ok(());
            }
        }
        bail!("it ended before it was ready")
    }

    /// SIGKILL, without a word to anybody.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill a server")
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        resident_bytes(&self.pid)
    }

    /// SIGTERM, then SIGKILL when it takes too long; a server that does not drain is an error.
    pub(crate) async fn stop(mut self) -> Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.pid])
            .status()
            .await?;
        match timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(status) => status.map(|_| ()).context("wait for the server"),
            Err(_) => {
                self.child.kill().await?;
                bail!("the server did not end within {STOP_DEADLINE:?} of SIGTERM")
            }
        }
    }
}

impl Uses for Server {
    fn cpu(&self) -> Result<Cpu> {
        Cpu::of(&self.pid)
    }
}

impl Uses for Vec<Server> {
    fn cpu(&self) -> Result<Cpu> {
        (&self.as_slice()).cpu()
    }
}

impl Uses for &[Server] {
    fn cpu(&self) -> Result<Cpu> {
        self.iter()
            .try_fold(Cpu::default(), |sum, server| Ok(sum.and(server.cpu()?)))
    }
}

/// Reads and forgets.
async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// A port that nothing listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
