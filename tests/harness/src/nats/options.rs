//! The configuration file of a server.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::proxy::bind;

/// What a test wants otherwise than usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes that all streams in memory may take; a stream says itself whether it is in memory or in files.
    pub max_memory_store: Option<u64>,
    /// Bytes that all streams in files may take: a small disk.
    pub max_file_store: Option<u64>,
    /// Lines for the top level of the file: an `authorization` or `accounts` block, `tls`, `ping_interval` …
    pub settings: String,
    /// A whole file that somebody else has written; only where the server listens and stores is this module's. Nothing above
    /// counts then.
    pub file: Option<String>,
}

impl Options {
    /// Nobody is let in but this user.
    #[must_use]
    pub fn with_user(self, user: &str, password: &str) -> Self {
        let (user, password) = (json!(user), json!(password));
        self.with_settings(&format!(
            "authorization {{ user: {user}, password: {password} }}"
        ))
    }

    /// Nobody is let in but these.
    #[must_use]
    pub fn with_users(self, users: &[User]) -> Self {
        let users: String = users.iter().map(User::render).collect();
        self.with_settings(&format!("authorization {{ users: [\n{users}] }}"))
    }

    /// Adds lines to the top level of the file.
    #[must_use]
    pub fn with_settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// The file for a server at this place.
    pub(super) fn render(&self, place: &Place) -> String {
        if let Some(file) = &self.file {
            return place.take_over(file);
        }
        let mut file = format!(
            r#"server_name: {name}
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{monitor}"
ports_file_dir: {ports}

# A subscriber that stops reading must not slow the publishers; it is let go early, and replays.
no_fast_producer_stall: true
max_pending: 32MB
write_deadline: "2s"

# Lame duck waits this long before it closes the first client's connection: the usual ten seconds are for hosts full of servers.
lame_duck_grace_period: "200ms"
"#,
            name = json!(place.name),
            client = place.ports.client,
            monitor = place.ports.monitor,
            ports = json!(place.folder.path()),
        );
        file.push_str(&self.jetstream(&place.store()));
        if let Some(routing) = &place.routing {
            file.push_str(&routing.render());
        }
        file + &self.settings
    }

    fn jetstream(&self, store: &Path) -> String {
        let mut block = format!("jetstream {{\n  store_dir: {}\n", json!(store));
        let limits = [
            ("max_memory_store", self.max_memory_store),
            ("max_file_store", self.max_file_store),
        ];
        for (name, limit) in limits {
            if let Some(bytes) = limit {
                writeln!(block, "  {name}: {bytes}").expect("a String takes all");
            }
        }
        block + "}\n"
    }
}

/// A user of a server.
#[derive(Clone, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// A `permissions` block.
    pub permissions: String,
}

impl User {
    fn render(&self) -> String {
        let (name, password) = (json!(self.name), json!(self.password));
        format!(
            "{{ user: {name}, password: {password}\n{} }}\n",
            self.permissions
        )
    }
}

/// Where a server lives, across restarts.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) folder: TempDir,
    pub(super) ports: Ports,
    pub(super) routing: Option<Routing>,
    /// Bound and not listening: the server can listen, and while it is down nobody else gets its ports.
    _held: Vec<TcpSocket>,
}

impl Place {
    pub(super) fn new(name: &str, routing: Option<Routing>) -> Self {
        let hold = |port| bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let (client, monitor) = (hold(0).expect("a free port"), hold(0).expect("a free port"));
        let port = |held: &TcpSocket| held.local_addr().expect("a bound socket").port();
        let ports = Ports {
            client: port(&client),
            monitor: port(&monitor),
        };
        // One that somebody took since it was chosen: the server says so.
        let route = routing.iter().filter_map(|own| hold(own.port).ok());
        Self {
            name: name.to_owned(),
            folder: TempDir::new().expect("a temporary folder"),
            ports,
            _held: [client, monitor].into_iter().chain(route).collect(),
            routing,
        }
    }

    /// A file that was written for another place.
    fn take_over(&self, file: &str) -> String {
        let here = [
            ("listen:", json!(format!("127.0.0.1:{}", self.ports.client))),
            ("http:", json!(format!("127.0.0.1:{}", self.ports.monitor))),
            ("store_dir:", json!(self.store())),
        ];
        let lines = file.lines().map(|line| {
            let mut settings = here.iter();
            let found = settings.find(|(name, _)| line.trim_start().starts_with(name));
            found.map_or_else(
                || line.to_owned(),
                |(name, value)| format!("{name} {value}"),
            )
        });
        let lines: Vec<String> = lines.collect();
        let ports = json!(self.folder.path());
        format!("{}\nports_file_dir: {ports}\n", lines.join("\n"))
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("nats.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join("nats.log")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) monitor: u16,
}

/// A server's place among the servers of a cluster.
#[derive(Clone)]
pub(super) struct Routing {
    pub(super) port: u16,
    pub(super) others: Vec<u16>,
}

impl Routing {
    fn render(&self) -> String {
        let routes = self.others.iter().map(|p| format!("nats://127.0.0.1:{p}"));
        format!(
            r#"cluster {{
  name: "chatcluster"
  listen: "127.0.0.1:{}"
  routes: {}
  # A client that was given a proxy's address must not learn the way around it.
  no_advertise: true
}}
"#,
            self.port,
            json!(routes.collect::<Vec<_>>()),
        )
    }
}
