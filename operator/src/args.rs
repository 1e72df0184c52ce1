//! The command line. Each flag has a variable of the same name, so that a chart's values map to them one to one.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The operator of ChatCluster: it makes the servers that ChatCluster resources ask for, and keeps them so.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "chatcluster-operator",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// What to do instead of operating
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to operate
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do instead of operating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Prints the definition of ChatCluster as YAML, for `kubectl apply --server-side -f -`
    Crd,
    /// Says whether an operator acts, which takes some seconds: one renews its lease, and the API server knows ChatCluster
    Check,
}

/// How to operate.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RunArgs {
    /// The only namespace whose ChatClusters are served; without it, all of them
    #[arg(long, value_name = "NAMESPACE", env = "CHATCLUSTER_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// The namespace that the operator runs in: its lease is there, and NetworkPolicies let it in from there
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "CHATCLUSTER_OPERATOR_NAMESPACE",
        default_value = "chatcluster-system"
    )]
    pub operator_namespace: String,

    /// What this process is called in the lease; without it, the name of the host, which is that of the pod
    #[arg(long, value_name = "NAME", env = "CHATCLUSTER_IDENTITY")]
    pub identity: Option<String>,

    /// The lease by which one of several operators acts
    #[arg(
        long,
        value_name = "NAME",
        env = "CHATCLUSTER_LEASE_NAME",
        default_value = "chatcluster-operator"
    )]
    pub lease_name: String,

    /// Seconds for which the lease holds; another operator takes over that long after this one has died
    #[arg(long, value_name = "SECONDS", env = "CHATCLUSTER_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(5..=300))]
    pub lease_seconds: u16,

    /// The server's image where a ChatCluster names none
    #[arg(long, value_name = "IMAGE", env = "CHATCLUSTER_SERVER_IMAGE", default_value = concat!("chatcluster-server:", env!("CARGO_PKG_VERSION")))]
    pub server_image: String,

    /// The image of NATS where the operator runs it and a ChatCluster names none
    #[arg(
        long,
        value_name = "IMAGE",
        env = "CHATCLUSTER_NATS_IMAGE",
        default_value = "docker.io/library/nats:2.15.2"
    )]
    pub nats_image: String,

    /// Address of /livez, /readyz and /metrics
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CHATCLUSTER_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: SocketAddr,

    /// Seconds after which a ChatCluster is looked at again although nothing was seen to change; Secrets are read then
    #[arg(long, value_name = "SECONDS", env = "CHATCLUSTER_RESYNC_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    pub resync_seconds: u32,

    /// ChatClusters that are looked at at the same time
    #[arg(long, value_name = "N", env = "CHATCLUSTER_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Least severe level that is logged: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        env = "CHATCLUSTER_LOG",
        default_value = "info"
    )]
    pub log: tracing::Level,
}

impl RunArgs {
    /// How often each ChatCluster is looked at at least.
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds.into())
    }

    /// How long a lease holds.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_is_well_formed_and_each_flag_has_a_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        for flag in command
            .get_arguments()
            .filter(|flag| !["help", "version"].contains(&flag.get_id().as_str()))
        {
            let name = flag.get_id().as_str().to_uppercase();
            let variable = flag.get_env().and_then(std::ffi::OsStr::to_str);
            assert_eq!(variable, Some(format!("CHATCLUSTER_{name}").as_str()));
        }
    }

    #[test]
    fn nothing_has_to_be_given() {
        let args = Args::try_parse_from(["chatcluster-operator"]).unwrap();
        assert_eq!(args.run.resync(), Duration::from_secs(300));
        assert!(args.run.server_image.starts_with("chatcluster-server:"));
        let crd = Args::try_parse_from(["chatcluster-operator", "crd"]).unwrap();
        assert_eq!(crd.command, Some(Command::Crd));
        let check = Args::try_parse_from(["chatcluster-operator", "check"]).unwrap();
        assert_eq!(check.command, Some(Command::Check));
    }
}
