//! Defaults, then the file, then the flags: one validated [`Config`], or every problem at once. And what becomes of it when
//! the file changes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use chatcluster_chat_api::{Config, Problem, Problems, ServerConfig};

use crate::args::{Args, DrainArgs};
use crate::files::Watched;

const ADDRESS: &str = "an address and port such as `127.0.0.1:3000`";

/// The server cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file given by `--config` cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Fields or flags are wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Reads the file, lays the flags over it, validates the whole.
pub fn load(args: Args) -> Result<Source, Error> {
    let yaml = read(args.config.as_deref())?;
    let (raw, config) = merge(&yaml, &args)?;
    Ok(Source {
        args,
        content: yaml.into_bytes(),
        raw,
        config,
    })
}

/// The settings that a server runs with, and where they are from.
#[derive(Clone, Debug)]
pub struct Source {
    args: Args,
    content: Vec<u8>,
    raw: ServerConfig,
    config: Config,
}

/// What becomes of a running server's settings with another file.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    raw: ServerConfig,
    /// What it runs with from then on.
    pub(crate) config: Config,
    /// Fields of the file that are others, and count at the next start.
    pub(crate) at_next_start: Vec<String>,
}

impl Source {
    /// What the server runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.args.config.as_deref()
    }

    /// What the file held.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn watched(&self) -> Option<Watched> {
        let path = self.path()?;
        Some(Watched::new("--config", path, &self.content))
    }

    /// What the file means now, for a server that runs already. It must be valid for one that starts, too.
    pub(crate) fn read_again(&self, content: &[u8]) -> Result<Next, String> {
        let yaml = std::str::from_utf8(content).map_err(|_| "the file is no text".to_owned())?;
        let said = |problems: Problems| problems.in_one_line();
        let (file, _) = merge(yaml, &self.args).map_err(said)?;
        let raw = file.over(&self.raw);
        let config = raw.validate().map_err(|problems| {
            let problems = said(problems);
            format!("beside fields that count at the next start only: {problems}")
        })?;
        Ok(Next {
            at_next_start: file.differences(&raw),
            raw,
            config,
        })
    }

    /// The server runs with this now.
    pub(crate) fn took(&mut self, content: &[u8], next: Next) {
        self.content = content.to_vec();
        (self.raw, self.config) = (next.raw, next.config);
    }
}

/// Where a running server answers operators. Its file need not be valid as a whole: it is served with already.
pub fn admin_address(args: &DrainArgs) -> Result<SocketAddr, Error> {
    let mut raw = ServerConfig::parse(&read(args.config.as_deref())?)?;
    let mut problems = Vec::new();
    let field = match args.admin {
        Some(_) => "--admin",
        None => "adminListen",
    };
    let mut flag = Flags {
        problems: &mut problems,
    };
    flag.set(field, field, &args.admin, &mut raw.admin_listen, ADDRESS);
    let mut address = raw.admin_listen;
    if address.port() == 0 {
        let allowed = "the port that the server listens on";
        problems.push(Problem::new(field, format!("`{address}`"), allowed));
    }
    // All addresses are one to listen on, and none to connect to.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    if problems.is_empty() {
        Ok(address)
    } else {
        Err(Problems(problems).into())
    }
}

fn read(path: Option<&Path>) -> Result<String, Error> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })
}

fn merge(yaml: &str, args: &Args) -> Result<(ServerConfig, Config), Problems> {
    let (mut raw, mut problems) = ServerConfig::parse_all(yaml);
    apply(args, &mut raw, &mut problems);
    match raw.validate() {
        Ok(config) if problems.is_empty() => Ok((raw, config)),
        Ok(_) => Err(Problems(problems)),
        Err(Problems(more)) => {
            problems.extend(more);
            Err(Problems(problems))
        }
    }
}

/// Lays the flags over what the file says. A flag makes a problem of the same field in the file void.
fn apply(args: &Args, raw: &mut ServerConfig, problems: &mut Vec<Problem>) {
    // Named without `..`: a flag that nobody applies does not compile.
    let Args {
        command: _,
        listen,
        admin_listen,
        nodes,
        data_dir,
        config: _,
        log,
        nats_url,
        nats_prefix,
    } = args;
    let mut flag = Flags { problems };
    flag.set("listen", "--listen", listen, &mut raw.listen, ADDRESS);
    flag.set(
        "adminListen",
        "--admin-listen",
        admin_listen,
        &mut raw.admin_listen,
        ADDRESS,
    );
    flag.set(
        "nodes",
        "--nodes",
        nodes,
        &mut raw.nodes,
        "an integer from 1 to 64, or `auto`",
    );
    let levels = "`error`, `warn`, `info`, `debug` or `trace`";
    flag.set("logLevel", "--log", log, &mut raw.log_level, levels);
    if let Some(data_dir) = data_dir {
        raw.data_dir.clone_from(data_dir);
    }
    if !nats_url.is_empty() {
        problems.retain(|problem| problem.path != "nats.urls");
        raw.nats.urls.clone_from(nats_url);
    }
    if let Some(prefix) = nats_prefix {
        problems.retain(|problem| problem.path != "nats.prefix");
        raw.nats.prefix.clone_from(prefix);
    }
}

struct Flags<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Flags<'_> {
    fn set<T: FromStr>(
        &mut self,
        field: &str,
        name: &str,
        typed: &Option<String>,
        target: &mut T,
        allowed: &str,
    ) {
        let Some(text) = typed else { return };
        self.problems.retain(|problem| problem.path != field);
        match text.parse() {
            Ok(value) => *target = value,
            Err(_) => {
                let found = format!("`{}`", text.escape_debug());
                self.problems.push(Problem::new(name, found, allowed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chatcluster_chat_api::{LogLevel, Nodes};
    use clap::Parser;

    use super::*;

    fn merge(yaml: &str, args: &Args) -> Result<Config, Problems> {
        super::merge(yaml, args).map(|(_, config)| config)
    }

    fn args(flags: &[&str]) -> Args {
        Args::try_parse_from(["chatcluster-server"].iter().chain(flags)).unwrap()
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let yaml = "listen: 127.0.0.1:4000\nnodes: 2\ndataDir: /from/file\n";
        let config = merge(yaml, &args(&["--nodes", "auto", "--log", "debug"])).unwrap();
        assert_eq!(config.listen.port(), 4000);
        assert_eq!(config.nodes, Nodes::Auto);
        assert_eq!(config.data_dir, PathBuf::from("/from/file"));
        assert_eq!(config.log_level, LogLevel::Debug);
        assert_eq!(config.admin_listen.port(), 9090);
        let config = merge(yaml, &args(&["--data-dir", "/from/flag"])).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/from/flag"));
    }

    #[test]
    fn flags_and_fields_are_reported_together() {
        let flags = args(&["--listen", "3000", "--nodes", "-1", "--log", "loud"]);
        let yaml = "nodes: many\nlimit: 5\nengine: {pingInterval: 1x}\ndrain: {rate: 0}\n";
        let problems = merge(yaml, &flags).unwrap_err().0;
        let paths: Vec<&str> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "limit",
                "engine.pingInterval",
                "--listen",
                "--nodes",
                "--log",
                "drain.rate"
            ],
            "{problems:#?}"
        );
    }

    #[test]
    fn nats_is_one_flag_away() {
        let flags = [
            "--nats-url",
            "nats://a,nats://b",
            "--nats-url",
            "nats://c:4223",
            "--nats-prefix",
            "team",
        ];
        // The flag replaces the file's list whole, and what is wrong with it.
        let yaml = "nats: {urls: [{}, 'ws://z'], prefix: 'from file', replicas: 3}\n";
        let nats = merge(yaml, &args(&flags)).unwrap().nats.unwrap();
        assert_eq!(nats.urls, ["nats://a", "nats://b", "nats://c:4223"]);
        assert_eq!(nats.prefix, "team");
        assert_eq!(nats.replicas, 3);
        assert_eq!(merge("", &args(&[])).unwrap().nats, None);
    }

    #[test]
    fn flags_of_nats_obey_the_rules_of_its_fields() {
        for (flags, path) in [
            (["--nats-url", ""].as_slice(), "nats.urls"),
            (&["--nats-url", "nats://joe:sesame@a"], "nats.urls"),
            (&["--nats-prefix", "team"], "nats.prefix"),
            (&["--nats-url", "nats://a", "--nodes", "2"], "nodes"),
        ] {
            let problems = merge("", &args(flags)).unwrap_err().0;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].path, path, "{problems:?}");
            assert!(!problems[0].found.contains("sesame"), "{problems:?}");
        }
    }

    #[test]
    fn a_server_to_drain_is_found_by_flag_file_and_default() {
        let found = |admin: Option<&str>, yaml: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), yaml).unwrap();
            admin_address(&DrainArgs {
                admin: admin.map(str::to_owned),
                config: Some(file.path().to_owned()),
            })
            .map(|address| address.to_string())
            .map_err(|error| error.to_string())
        };
        let file = "adminListen: 0.0.0.0:9999\n";
        assert_eq!(found(None, ""), Ok("127.0.0.1:9090".to_owned()));
        assert_eq!(found(None, file), Ok("127.0.0.1:9999".to_owned()));
        assert_eq!(found(Some("10.0.0.1:1"), file), Ok("10.0.0.1:1".to_owned()));
        assert_eq!(found(Some("[::]:1"), file), Ok("[::1]:1".to_owned()));
        // Not served with, and no reason not to drain.
        assert_eq!(
            found(None, "limits: {eventsBurst: 0}\n"),
            Ok("127.0.0.1:9090".to_owned())
        );
        for (admin, yaml, field) in [
            (Some("9090"), "", "--admin: "),
            (Some("127.0.0.1:0"), "", "--admin: "),
            (None, "adminListen: 127.0.0.1:0\n", "adminListen: "),
            (None, "adminListen: here\n", "adminListen: "),
        ] {
            let error = found(admin, yaml).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn a_file_that_changed_is_read_as_at_start_and_flags_still_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.yaml");
        std::fs::write(&path, "limits: {messageCharacters: 10}\n").unwrap();
        let flags = ["--log", "warn", "--nodes", "2", "--config"];
        let flags = [&flags[..], &[path.to_str().unwrap()]].concat();
        let mut source = load(args(&flags)).unwrap();
        let next = "logLevel: debug\nnodes: 3\ndataDir: other\ndrain: {rate: 7}\n";
        let next = source.read_again(next.as_bytes()).unwrap();
        assert_eq!(next.at_next_start, ["dataDir"]);
        assert_eq!(next.config.log_level, LogLevel::Warn);
        assert_eq!(next.config.drain.rate, 7);
        assert_eq!(next.config.data_dir, PathBuf::from("data"));
        assert_eq!(next.config.limits.message_characters, 4000);
        source.took(b"", next);
        assert_eq!(source.config().drain.rate, 7);
    }

    #[test]
    fn a_file_must_be_valid_by_itself_and_beside_what_stays() {
        let source = load(args(&[])).unwrap();
        let problem = |yaml: &str| source.read_again(yaml.as_bytes()).unwrap_err();
        let said = problem("drain: {rate: 0}\nlimit: 7\n");
        assert!(said.starts_with("limit: found an unknown field"), "{said}");
        assert!(
            said.contains("; drain.rate: found `0`; allowed: "),
            "{said}"
        );
        let both = "engine: {maxPayloadBytes: 4000000}\nlimits: {messageCharacters: 3000000}\n";
        let said = problem(both);
        let beside = "beside fields that count at the next start only: limits.messageCharacters: ";
        assert!(said.starts_with(beside), "{said}");
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = load(args(&["--config", "/nowhere/chat.yaml"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the configuration file /nowhere/chat.yaml"
        );
    }
}
