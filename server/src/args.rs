//! The command line as it was typed. What it means is decided in `settings`, together with the file.

use std::path::PathBuf;

use clap::Parser;

/// A chat server for Socket.IO clients.
///
/// Settings come from the defaults, then the file, then the flags; the later one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Parser)]
#[command(name = "chatcluster-server", version, about, long_about)]
pub struct Args {
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
    }
}
