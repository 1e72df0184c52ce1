//! Defaults, then the file, then the flags: one validated [`Config`], or every problem at once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use chatcluster_chat_api::{Config, Problem, Problems, ServerConfig};

use crate::args::{Args, DrainArgs};

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
pub fn load(args: &Args) -> Result<Config, Error> {
    let yaml = read(args.config.as_deref())?;
    Ok(merge(&yaml, args)?)
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

fn merge(yaml: &str, args: &Args) -> Result<Config, Problems> {
    let (mut raw, mut problems) = ServerConfig::parse_all(yaml);
    apply(args, &mut raw, &mut problems);
    match raw.validate() {
        Ok(config) if problems.is_empty() => Ok(config),
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
    fn an_absent_file_is_named() {
        let error = load(&args(&["--config", "/nowhere/chat.yaml"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the configuration file /nowhere/chat.yaml"
        );
    }
}
