//! Defaults, then the file, then the flags: one validated [`Config`], or every problem at once.

use std::{path::PathBuf, str::FromStr};

use chatcluster_chat_api::{Config, Problem, Problems, ServerConfig};

use crate::args::Args;

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
    let yaml = match &args.config {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
            path: path.clone(),
            source,
        })?,
    };
    Ok(merge(&yaml, args)?)
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
        listen,
        admin_listen,
        nodes,
        data_dir,
        config: _,
        log,
        nats_url,
        nats_prefix,
    } = args;
    let address = "an address and port such as `127.0.0.1:3000`";
    let mut flag = Flags { problems };
    flag.set("listen", "--listen", listen, &mut raw.listen, address);
    flag.set(
        "adminListen",
        "--admin-listen",
        admin_listen,
        &mut raw.admin_listen,
        address,
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
    fn an_absent_file_is_named() {
        let error = load(&args(&["--config", "/nowhere/chat.yaml"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the configuration file /nowhere/chat.yaml"
        );
    }
}
