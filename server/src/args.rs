//! The command line as it was typed. What it means is decided in `settings`, together with the file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A chat server for Socket.IO clients.
///
/// Settings come from the defaults, then the file, then the flags; the later one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Parser)]
#[command(
    name = "chatcluster-server",
    version,
    about,
    long_about,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address of the first node; node i listens on this port + i [default: 127.0.0.1:3000]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// Address of metrics and probes; not for clients [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// Nodes in this process, 1 to 64, or auto for one per core [default: 1]
    #[arg(long, value_name = "N|auto", allow_hyphen_values = true)]
    pub nodes: Option<String>,

    /// Folder of the message history, made if absent [default: data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Least severe level that is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,

    /// Address of a NATS server, such as nats://127.0.0.1:4222; servers that share NATS and the prefix are one cluster.
    /// May be given several times, or with commas [default: none]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub nats_url: Vec<String>,

    /// What the cluster's names on NATS begin with [default: chatcluster]
    #[arg(long, value_name = "PREFIX")]
    pub nats_prefix: Option<String>,
}

/// What to do instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Drains a running server, and returns when that is done
    ///
    /// The server lets no new client in and closes its connections at the pace of its configuration, so that clients come
    /// back elsewhere. It goes on running until it is told to stop.
    Drain(DrainArgs),
}

/// Which server to drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct DrainArgs {
    /// Address of its metrics and probes [default: adminListen of the file, or 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,

    /// Its configuration file (YAML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use chatcluster_chat_api::ServerConfig;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_names_the_real_defaults() {
        let help = Args::command().render_long_help().to_string();
        let config = ServerConfig::default();
        for default in [
            config.listen.to_string(),
            config.admin_listen.to_string(),
            "1".to_owned(),
            config.data_dir.display().to_string(),
            config.log_level.as_str().to_owned(),
            config.nats.prefix,
        ] {
            assert!(
                help.contains(&format!("[default: {default}]")),
                "{default}: {help}"
            );
        }
        let mut command = Args::command();
        let drain = command.find_subcommand_mut("drain").unwrap();
        let help = drain.render_long_help().to_string();
        let default = format!("or {}]", config.admin_listen);
        assert!(help.contains(&default), "{default}: {help}");
    }

    #[test]
    fn the_flags_of_serving_are_not_those_of_draining() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args = parse("chatcluster-server drain --admin 127.0.0.1:1 --config f").unwrap();
        let drain = DrainArgs {
            admin: Some("127.0.0.1:1".to_owned()),
            config: Some("f".into()),
        };
        assert_eq!(args.command, Some(Command::Drain(drain)));
        assert!(parse("chatcluster-server --nodes 2 drain").is_err());
        assert!(parse("chatcluster-server drain --nodes 2").is_err());
    }
}
