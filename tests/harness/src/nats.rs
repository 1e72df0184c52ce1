//! A real nats-server, started for one test on free ports with a store of its own, and ended with it.
//!
//! The binary is what `make nats` builds, or what `CHATCLUSTER_NATS_SERVER` names; without one a test fails and says so.
//! A server can be hurt the way servers are hurt: [`NatsServer::kill`], [`NatsServer::stop`], [`NatsServer::lame_duck`];
//! after [`NatsServer::restart`] it is the same server, on the same ports and the same store. What goes wrong between a
//! client and a server that is well is the business of [`Proxy`](crate::Proxy). [`NatsCluster`] is several servers that
//! replicate. This module knows no client library: tests bring theirs.

mod authority;
mod cluster;
mod monitor;
mod operator;
mod options;
mod process;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

pub use authority::Authority;
pub use cluster::NatsCluster;
pub use operator::Operator;
pub use options::{Options, User};

use crate::wait::{DEADLINE, until, within};
use options::{Place, Routing};
use process::Process;

/// How often a starting server is asked whether it is ready: each time is a connection.
const LOOK: Duration = Duration::from_millis(10);

/// One nats-server with JetStream.
pub struct NatsServer {
    options: Options,
    /// Before the place in the order of dropping: nobody writes to a folder that goes.
    process: Process,
    place: Place,
}

impl NatsServer {
    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// When there is no binary, or the server does not become ready: with the end of its log.
    pub async fn start(options: Options) -> Self {
        let mut server = Self::spawn("nats", options, None);
        server.wait_ready().await;
        server
    }

    /// Starts a server without waiting for it.
    fn spawn(name: &str, options: Options, routing: Option<Routing>) -> Self {
        let place = Place::new(name, routing);
        Self {
            process: Process::spawn(&place, &options),
            options,
            place,
        }
    }

    /// What the server calls itself; JetStream names leaders so.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.place.ports.client))
    }

    /// The same for a client library; without user and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// What the monitoring endpoint says: `/connz`, `/jsz?streams=true`, `/varz` …
    ///
    /// # Panics
    /// When it does not answer in time, or not with JSON.
    pub async fn monitor(&self, path: &str) -> Value {
        let answer = within("the monitoring endpoint answers", self.ask(path)).await;
        answer.expect("JSON from the monitoring endpoint").body
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What the server has logged about users who did what they may not, a line each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains(" Violation - "));
        lines.map(str::to_owned).collect()
    }

    async fn ask(&self, path: &str) -> io::Result<monitor::Answer> {
        let port = self.place.ports.monitor;
        monitor::get(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path).await
    }

    /// Resolves when the server takes connections, has read its store and, in a cluster, knows a leader.
    ///
    /// # Panics
    /// When it does not become ready within [`DEADLINE`]: with the end of its log.
    pub async fn wait_ready(&mut self) {
        if let Err(why) = self.ready().await {
            panic!("nats-server {}: {why}", self.name());
        }
    }

    async fn ready(&mut self) -> Result<(), String> {
        let ready = async {
            while !self.is_ready().await {
                if let Some(status) = self.process.ended() {
                    return Err(format!("it has ended, {status}"));
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let outcome = tokio::time::timeout(DEADLINE, ready).await;
        outcome
            .unwrap_or_else(|_| Err(format!("not ready within {DEADLINE:?}")))
            .map_err(|why| format!("{why}; its log ends with\n{}", self.process.log_tail()))
    }

    async fn is_ready(&mut self) -> bool {
        // Written anew by each process, when all its listeners stand.
        if self.process.ports().is_none() {
            return false;
        }
        let health = self.ask("/healthz").await;
        health.is_ok_and(|answer| answer.status == 200)
    }

    /// SIGKILL. The ports refuse connections until [`Self::restart`], and nobody else gets them.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay, new ones are taken by the kernel, nothing is answered.
    ///
    /// # Panics
    /// When it does not come to a halt within [`DEADLINE`].
    pub async fn stop(&mut self) {
        self.process.signal(Signal::STOP);
        until("nats-server halts", || self.process.has_halted()).await;
    }

    /// SIGCONT: ends [`Self::stop`].
    pub fn cont(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// SIGUSR2: hands its leaderships over, closes JetStream and then one client's connection after another, and ends.
    pub fn lame_duck(&mut self) {
        self.process.signal(Signal::USR2);
    }

    /// Resolves when the process has ended by itself.
    ///
    /// # Panics
    /// When it has not within [`DEADLINE`].
    pub async fn wait_ended(&mut self) {
        until("nats-server ends", || self.process.ended().is_some()).await;
    }

    /// As [`Self::restart`], with these settings in place of those that it had.
    ///
    /// # Panics
    /// When it does not become ready: with the end of its log.
    pub async fn restart_with(&mut self, settings: &str) {
        self.options.settings.clear();
        self.options = std::mem::take(&mut self.options).with_settings(settings);
        self.restart().await;
    }

    /// Starts the server again on the same ports and the same store, and waits until it is ready. One that still runs is
    /// killed first.
    ///
    /// # Panics
    /// When it does not become ready: with the end of its log.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = Process::spawn(&self.place, &self.options);
        self.wait_ready().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    #[tokio::test]
    async fn nobody_gets_the_port_of_a_server_that_was_killed() {
        let mut server = NatsServer::start(Options::default()).await;
        let address = server.address();
        for _ in 0..2 {
            server.kill();
            let taken = TcpSocket::new_v4().unwrap().bind(address).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
            let refused = within("a refusal", TcpStream::connect(address)).await;
            assert_eq!(
                refused.unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            server.restart().await;
            assert_eq!(server.address(), address);
        }
    }
}
