//! Several servers that replicate.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Deref, DerefMut};

use super::options::Routing;
use super::{NatsServer, Options};

/// How often a cluster is begun anew when somebody took one of its ports.
const ATTEMPTS: usize = 3;

/// Servers named `nats0`, `nats1` …, each with a route to every other.
pub struct NatsCluster(Vec<NatsServer>);

impl Deref for NatsCluster {
    type Target = [NatsServer];
    fn deref(&self) -> &[NatsServer] {
        &self.0
    }
}

impl DerefMut for NatsCluster {
    fn deref_mut(&mut self) -> &mut [NatsServer] {
        &mut self.0
    }
}

impl NatsCluster {
    /// Starts servers and waits until each knows the leader of all.
    ///
    /// # Panics
    /// When a server does not become ready: with the end of its log.
    pub async fn start(count: usize, options: &Options) -> Self {
        for _ in 1..ATTEMPTS {
            match Self::attempt(count, options).await {
                Ok(cluster) => return cluster,
                // Routes are in the configuration, so their ports are chosen before a server can hold them.
                Err(why) if why.contains("address already in use") => {}
                Err(why) => panic!("{why}"),
            }
        }
        let last = Self::attempt(count, options).await;
        last.unwrap_or_else(|why| panic!("{why}"))
    }

    async fn attempt(count: usize, options: &Options) -> Result<Self, String> {
        let ports = free_ports(count);
        let spawn = |index: usize| {
            let others = ports.iter().enumerate().filter(|(i, _)| *i != index);
            let routing = Routing {
                port: ports[index],
                others: others.map(|(_, port)| *port).collect(),
            };
            NatsServer::spawn(&format!("nats{index}"), options.clone(), Some(routing))
        };
        // All run before one is waited for: alone, none becomes ready.
        let mut servers: Vec<_> = (0..count).map(spawn).collect();
        for server in &mut servers {
            let ready = server.ready().await;
            ready.map_err(|why| format!("nats-server {}: {why}", server.name()))?;
        }
        Ok(Self(servers))
    }

    /// Where clients connect, any of them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.iter().map(NatsServer::url).collect()
    }

    /// The server with this name, as JetStream names a leader.
    ///
    /// # Panics
    /// When there is none.
    pub fn named(&mut self, name: &str) -> &mut NatsServer {
        let mut servers = self.iter_mut();
        let server = servers.find(|server| server.name() == name);
        server.unwrap_or_else(|| panic!("no server {name} in this cluster"))
    }
}

/// Ports that are free now.
fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // All are bound before one is let go, so they differ.
    let listeners: Vec<_> = (0..count).map(bind).collect();
    let port = |l: &TcpListener| l.local_addr().expect("a bound listener").port();
    listeners.iter().map(port).collect()
}
