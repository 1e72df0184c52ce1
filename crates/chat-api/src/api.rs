//! The `api` section: HTTP for backends, which is there only with a file of tokens.
//!
//! It has a listener of its own: the admin listener must never be exposed, this one may be, to those who have a token.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{Nodes, ServerConfig, validate::Check};

/// HTTP for backends. Without a token file there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiSection {
    /// Address of the API. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// File with the tokens of those who may use it, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9091)),
            token_file: None,
        }
    }
}

/// HTTP for backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its address.
    pub listen: SocketAddr,
    /// File with the tokens, one a line.
    pub token_file: PathBuf,
}

pub(crate) fn api(raw: &ServerConfig, check: &mut Check) -> Option<Api> {
    let ApiSection { listen, token_file } = &raw.api;
    let Some(token_file) = token_file else {
        if *listen != ApiSection::default().listen {
            let allowed = "nothing, unless api.tokenFile is set";
            check.push("api.listen", "a value", allowed);
        }
        return None;
    };
    if token_file.as_os_str().is_empty() {
        let allowed = "the path of a file, or no such field";
        check.problem("api.tokenFile", "", allowed);
    }
    own_address(raw, check);
    Some(Api {
        listen: *listen,
        token_file: token_file.clone(),
    })
}

fn own_address(raw: &ServerConfig, check: &mut Check) {
    let nodes = match raw.nodes {
        Nodes::Count(count) => count,
        Nodes::Auto => 1,
    };
    for (other, count) in [(raw.listen, nodes), (raw.admin_listen, 1)] {
        let (first, port) = (u32::from(other.port()), u32::from(raw.api.listen.port()));
        let (ip, api_ip) = (other.ip(), raw.api.listen.ip());
        let is_same_ip = ip == api_ip || ip.is_unspecified() || api_ip.is_unspecified();
        if is_same_ip && port != 0 && (first..first + u32::from(count)).contains(&port) {
            let allowed = "an address that neither listen with its nodes nor adminListen has";
            check.problem("api.listen", raw.api.listen, allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(yaml: &str) -> Option<Api> {
        ServerConfig::parse(yaml).unwrap().validate().unwrap().api
    }

    fn problem(yaml: &str) -> String {
        let problems = ServerConfig::parse(yaml).unwrap().validate().unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        problems.0[0].to_string()
    }

    #[test]
    fn there_is_an_api_only_with_a_token_file() {
        for yaml in ["", "api: {}", "api: {listen: '127.0.0.1:9091'}"] {
            assert_eq!(valid(yaml), None, "{yaml:?}");
        }
        let api = valid("api: {tokenFile: /run/tokens}").unwrap();
        assert_eq!(api.listen.to_string(), "127.0.0.1:9091");
        assert_eq!(api.token_file, PathBuf::from("/run/tokens"));
        assert_eq!(
            problem("api: {listen: '0.0.0.0:8000'}"),
            "api.listen: found a value; allowed: nothing, unless api.tokenFile is set"
        );
        assert!(problem("api: {tokenFile: ''}").starts_with("api.tokenFile: "));
    }

    #[test]
    fn its_address_is_its_own() {
        for taken in ["127.0.0.1:9090", "0.0.0.0:9090", "127.0.0.1:3003"] {
            let yaml = format!("{{nodes: 4, api: {{tokenFile: t, listen: '{taken}'}}}}");
            assert!(problem(&yaml).starts_with("api.listen: "), "{taken}");
        }
        for free in ["127.0.0.1:3004", "127.0.0.2:9090", "127.0.0.1:0"] {
            let yaml = format!("{{nodes: 4, api: {{tokenFile: t, listen: '{free}'}}}}");
            assert!(valid(&yaml).is_some(), "{free}");
        }
    }
}
