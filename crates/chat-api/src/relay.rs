//! The `relay` section: as it is written, as it holds, and the rules between.
//!
//! Servers of a cluster bring each other the requests of sessions that they do not hold. Without `nats.urls` there is no
//! cluster, and no address or secret here may be set.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ServerConfig, validate::Check};

const UNLESS_URLS: &str = "nothing, unless nats.urls is set";

/// How servers of a cluster bring each other requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelaySection {
    /// Whether they do.
    pub enabled: bool,
    /// Where this server takes requests from the others; never to be exposed to clients. Without it, the IP address of
    /// `listen` and a port that the system chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The address that the others use. Without it, that of `listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// File with the secret that all servers share. Without it, one is made and kept on NATS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

impl Default for RelaySection {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: None,
            advertise: None,
            secret_file: None,
        }
    }
}

/// How servers of a cluster bring each other requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Where this server takes them; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The address that the others use, if not that of `listen`; port 0 is the port that is listened on.
    pub advertise: Option<SocketAddr>,
    /// File with the secret that all servers share, if it is not kept on NATS.
    pub secret_file: Option<PathBuf>,
}

pub(crate) fn relay(raw: &ServerConfig, check: &mut Check) -> Option<Relay> {
    let relay = &raw.relay;
    if raw.nats.urls.is_empty() {
        for (path, is_set) in [
            ("relay.listen", relay.listen.is_some()),
            ("relay.advertise", relay.advertise.is_some()),
            ("relay.secretFile", relay.secret_file.is_some()),
        ] {
            if is_set {
                check.push(path, "a value", UNLESS_URLS);
            }
        }
        return None;
    }
    if let Some(address) = relay.advertise
        && address.ip().is_unspecified()
    {
        let allowed = "an address that other servers can connect to";
        check.problem("relay.advertise", address, allowed);
    }
    let secret = relay.secret_file.as_ref();
    if secret.is_some_and(|file| file.as_os_str().is_empty()) {
        check.problem(
            "relay.secretFile",
            "",
            "the path of a file, or no such field",
        );
    }
    let default = SocketAddr::new(raw.listen.ip(), 0);
    relay.enabled.then(|| Relay {
        listen: relay.listen.unwrap_or(default),
        advertise: relay.advertise,
        secret_file: relay.secret_file.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATS: &str = "nats: {urls: ['nats://a.example']}\n";

    fn valid(yaml: &str) -> Option<Relay> {
        ServerConfig::parse(yaml).unwrap().validate().unwrap().relay
    }

    fn problems(yaml: &str) -> Vec<String> {
        let found = ServerConfig::parse(yaml).unwrap().validate().unwrap_err();
        found.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn there_is_a_relay_with_nats_only() {
        assert_eq!(valid(""), None);
        assert_eq!(valid("relay: {enabled: false}"), None);
        assert_eq!(valid(&format!("{NATS}relay: {{enabled: false}}")), None);
        assert!(valid(NATS).is_some());
    }

    #[test]
    fn it_listens_where_clients_are_let_in_unless_told_otherwise() {
        let listen = |yaml: &str| valid(&format!("{NATS}{yaml}")).unwrap().listen.to_string();
        assert_eq!(listen(""), "127.0.0.1:0");
        assert_eq!(listen("listen: 0.0.0.0:3000"), "0.0.0.0:0");
        assert_eq!(listen("relay: {listen: '10.0.0.7:3001'}"), "10.0.0.7:3001");
    }

    #[test]
    fn addresses_and_secrets_need_urls() {
        let found =
            problems("relay: {listen: '0.0.0.0:1', advertise: '10.0.0.7:1', secretFile: s}");
        let expected = ["listen", "advertise", "secretFile"]
            .map(|field| format!("relay.{field}: found a value; allowed: {UNLESS_URLS}"));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_used_is_reported() {
        let found = problems(&format!(
            "{NATS}relay: {{advertise: '0.0.0.0:1', secretFile: ''}}"
        ));
        assert_eq!(
            found,
            [
                "relay.advertise: found `0.0.0.0:1`; allowed: an address that other servers can connect to",
                "relay.secretFile: found ``; allowed: the path of a file, or no such field",
            ]
        );
    }
}
