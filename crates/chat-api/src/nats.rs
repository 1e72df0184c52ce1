//! The `nats` section: as it is written, as it holds, and the rules between.
//!
//! Without `nats.urls` the server keeps its log to itself, and no other field here may be set: one that is forgotten
//! above it would make two servers out of one cluster without a word. Secrets are in files only, and a problem never
//! shows an address that may hold one.

use std::{net::Ipv6Addr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{DurationText, Nodes, ServerConfig, validate::Check};

/// What stands for a text that may hold a password.
pub(crate) const NOT_SHOWN: &str = "a text with `@`, not shown as it may hold a password";

const UNLESS_URLS: &str = "nothing, unless nats.urls is set";
const MIN_RETENTION_BYTES: u64 = 1 << 20;
/// A server that hands over sooner does so at each restart of NATS.
const MIN_GRACE: Duration = Duration::from_secs(1);
/// Longest prefix. This and the characters of [`is_prefix`] are those of `Names::new` in `socketio-nats`, which this crate
/// must not depend on.
const MAX_PREFIX_BYTES: usize = 64;

/// The NATS cluster that servers share. Without URLs, none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NatsSection {
    /// Addresses such as `nats://nats.example.com:4222` or `tls://...`; any one that answers will do.
    pub urls: Vec<String>,
    /// What all names on NATS begin with; servers with the same one are one cluster.
    pub prefix: String,
    /// Copies of the log and of sessions that NATS keeps: 1, 3 or 5.
    pub replicas: u64,
    /// Where NATS keeps them.
    pub storage: NatsStorage,
    /// Bytes of the log beyond which its oldest messages go; `0` sets no limit.
    pub retention_bytes: u64,
    /// How long a server that alone cannot reach NATS keeps its clients; `0s` keeps them for ever.
    pub hand_over_grace: DurationText,
    /// User name; with `passwordFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// File that holds the user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// File that holds a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// File with an NKey and its JWT, as `nsc` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// How the connection is secured; only with `tls://`.
    pub tls: NatsTlsSection,
}

impl Default for NatsSection {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            prefix: "chatcluster".to_owned(),
            replicas: 1,
            storage: NatsStorage::File,
            retention_bytes: 0,
            hand_over_grace: DurationText::seconds(10),
            user: None,
            password_file: None,
            token_file: None,
            credentials_file: None,
            tls: NatsTlsSection::default(),
        }
    }
}

/// Where NATS keeps the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatsStorage {
    /// On disk.
    File,
    /// In memory: gone when all NATS servers were down at once.
    Memory,
}

/// How the connection to NATS is secured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NatsTlsSection {
    /// File with the authorities to trust, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// File with this server's certificate; with `keyFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// File with the certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// The NATS cluster that servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nats {
    /// Addresses without users and passwords, at least one.
    pub urls: Vec<String>,
    /// What all names begin with.
    pub prefix: String,
    /// Copies that NATS keeps.
    pub replicas: usize,
    /// Where it keeps them.
    pub storage: NatsStorage,
    /// Bytes of the log beyond which its oldest messages go, if limited. Its age is
    /// [`History::retention`](crate::History::retention): log and history keep the same messages.
    pub retention_bytes: Option<u64>,
    /// How long this server keeps its clients when it alone cannot reach NATS, if not for ever.
    pub hand_over_grace: Option<Duration>,
    /// Who this server is to NATS.
    pub credentials: NatsCredentials,
    /// How the connection is secured.
    pub tls: NatsTls,
}

/// Who this server is to NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsCredentials {
    /// Nobody in particular.
    None,
    /// A user with a password.
    User {
        /// The user.
        name: String,
        /// File that holds the password.
        password_file: PathBuf,
    },
    /// Who has the token.
    Token {
        /// File that holds the token.
        file: PathBuf,
    },
    /// Who has the NKey in this file; its JWT is there too.
    File(PathBuf),
}

/// How the connection to NATS is secured. Anything but the default stands for `tls://` in all URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// File with the authorities to trust, if not the system's.
    pub ca_file: Option<PathBuf>,
    /// Files with this server's certificate and its key.
    pub cert: Option<(PathBuf, PathBuf)>,
}

pub(crate) fn nats(raw: &ServerConfig, check: &mut Check) -> Option<Nats> {
    let nats = &raw.nats;
    if nats.urls.is_empty() {
        unused(nats, check);
        return None;
    }
    one_node(raw.nodes, check);
    for url in &nats.urls {
        address(url, check);
    }
    if !is_prefix(&nats.prefix) {
        let allowed = format!(
            "1 to {MAX_PREFIX_BYTES} characters of a-z, A-Z, 0-9, `-` and `_`, in parts joined by `.`"
        );
        check.problem("nats.prefix", nats.prefix.escape_debug(), allowed);
    }
    if ![1, 3, 5].contains(&nats.replicas) {
        check.problem("nats.replicas", nats.replicas, "1, 3 or 5");
    }
    if (1..MIN_RETENTION_BYTES).contains(&nats.retention_bytes) {
        let allowed = format!("0 (no limit), or at least {MIN_RETENTION_BYTES}");
        check.problem("nats.retentionBytes", nats.retention_bytes, allowed);
    }
    Some(Nats {
        urls: nats.urls.clone(),
        prefix: nats.prefix.clone(),
        replicas: usize::try_from(nats.replicas).unwrap_or(usize::MAX),
        storage: nats.storage,
        retention_bytes: (nats.retention_bytes > 0).then_some(nats.retention_bytes),
        hand_over_grace: hand_over_grace(nats, check),
        credentials: credentials(nats, check),
        tls: tls(nats, check),
    })
}

fn unused(raw: &NatsSection, check: &mut Check) {
    let default = NatsSection::default();
    // Named without `..`: a field that is forgotten here does not compile.
    let NatsSection {
        urls: _,
        prefix,
        replicas,
        storage,
        retention_bytes,
        hand_over_grace,
        user,
        password_file,
        token_file,
        credentials_file,
        tls:
            NatsTlsSection {
                ca_file,
                cert_file,
                key_file,
            },
    } = raw;
    for (path, is_set) in [
        ("nats.prefix", *prefix != default.prefix),
        ("nats.replicas", *replicas != default.replicas),
        ("nats.storage", *storage != default.storage),
        (
            "nats.retentionBytes",
            *retention_bytes != default.retention_bytes,
        ),
        (
            "nats.handOverGrace",
            *hand_over_grace != default.hand_over_grace,
        ),
        ("nats.user", user.is_some()),
        ("nats.passwordFile", password_file.is_some()),
        ("nats.tokenFile", token_file.is_some()),
        ("nats.credentialsFile", credentials_file.is_some()),
        ("nats.tls.caFile", ca_file.is_some()),
        ("nats.tls.certFile", cert_file.is_some()),
        ("nats.tls.keyFile", key_file.is_some()),
    ] {
        if is_set {
            check.push(path, "a value", UNLESS_URLS);
        }
    }
}

fn hand_over_grace(raw: &NatsSection, check: &mut Check) -> Option<Duration> {
    let grace = raw.hand_over_grace;
    (!grace.0.is_zero()).then(|| check.duration("nats.handOverGrace", grace, MIN_GRACE))
}

fn one_node(nodes: Nodes, check: &mut Check) {
    let found = match nodes {
        Nodes::Count(1) => return,
        Nodes::Count(count) => count.to_string(),
        Nodes::Auto => "auto".to_owned(),
    };
    let allowed = "1 with nats.urls: one node per process with NATS; run more processes";
    check.problem("nodes", found, allowed);
}

fn address(url: &str, check: &mut Check) {
    if url.contains('@') {
        let allowed =
            "an address without user and password; give them by nats.user and nats.passwordFile";
        check.push("nats.urls", NOT_SHOWN, allowed);
    } else if !is_address(url) {
        let allowed = "`nats://` or `tls://`, a host, and a port if it is not 4222, such as `nats://nats.example.com:4222`";
        check.problem("nats.urls", url.escape_debug(), allowed);
    }
}

fn is_address(url: &str) -> bool {
    let Some(rest) = url
        .strip_prefix("nats://")
        .or_else(|| url.strip_prefix("tls://"))
    else {
        return false;
    };
    if let Some(rest) = rest.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(ip, port)| {
            ip.parse::<Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    match rest.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(rest),
    }
}

fn is_host(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    // The dot at the end of a full name keeps the resolver from trying its search domains.
    text.strip_suffix('.')
        .unwrap_or(text)
        .split('.')
        .all(|label| !label.is_empty() && label.chars().all(is_good))
}

fn is_port(text: &str) -> bool {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_prefix(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.len() <= MAX_PREFIX_BYTES
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(is_good))
}

fn credentials(raw: &NatsSection, check: &mut Check) -> NatsCredentials {
    if raw.user.as_deref() == Some("") {
        check.problem("nats.user", "", "a text, or no such field");
    }
    file("nats.passwordFile", raw.password_file.as_ref(), check);
    file("nats.tokenFile", raw.token_file.as_ref(), check);
    file("nats.credentialsFile", raw.credentials_file.as_ref(), check);
    if raw.user.is_some() && raw.password_file.is_none() {
        let allowed = "the path of the file with the password of nats.user";
        check.problem("nats.passwordFile", "", allowed);
    }
    if raw.user.is_none() && raw.password_file.is_some() {
        let allowed = "the name of the user whose password is in nats.passwordFile";
        check.problem("nats.user", "", allowed);
    }
    let ways = [
        ("user", raw.user.is_some() || raw.password_file.is_some()),
        ("tokenFile", raw.token_file.is_some()),
        ("credentialsFile", raw.credentials_file.is_some()),
    ];
    let given: Vec<&str> = ways
        .iter()
        .filter_map(|(name, is_given)| is_given.then_some(*name))
        .collect();
    if given.len() > 1 {
        let allowed = "at most one of user with passwordFile, tokenFile and credentialsFile";
        check.problem("nats", given.join(", "), allowed);
    }
    if let (Some(name), Some(password_file)) = (&raw.user, &raw.password_file) {
        NatsCredentials::User {
            name: name.clone(),
            password_file: password_file.clone(),
        }
    } else if let Some(file) = &raw.token_file {
        NatsCredentials::Token { file: file.clone() }
    } else if let Some(file) = &raw.credentials_file {
        NatsCredentials::File(file.clone())
    } else {
        NatsCredentials::None
    }
}

fn tls(raw: &NatsSection, check: &mut Check) -> NatsTls {
    let tls = &raw.tls;
    file("nats.tls.caFile", tls.ca_file.as_ref(), check);
    file("nats.tls.certFile", tls.cert_file.as_ref(), check);
    file("nats.tls.keyFile", tls.key_file.as_ref(), check);
    if tls.cert_file.is_some() && tls.key_file.is_none() {
        let allowed = "the path of the file with the key of nats.tls.certFile";
        check.problem("nats.tls.keyFile", "", allowed);
    }
    if tls.cert_file.is_none() && tls.key_file.is_some() {
        let allowed = "the path of the file with the certificate of nats.tls.keyFile";
        check.problem("nats.tls.certFile", "", allowed);
    }
    let is_secured = raw.urls.iter().all(|url| url.starts_with("tls://"));
    if *tls != NatsTlsSection::default() && !is_secured {
        let allowed = "nothing, unless every address of nats.urls begins with `tls://`";
        check.push("nats.tls", "a group of fields", allowed);
    }
    NatsTls {
        ca_file: tls.ca_file.clone(),
        cert: tls.cert_file.clone().zip(tls.key_file.clone()),
    }
}

fn file(path: &str, file: Option<&PathBuf>, check: &mut Check) {
    if file.is_some_and(|file| file.as_os_str().is_empty()) {
        check.problem(path, "", "the path of a file, or no such field");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "nats://a.example:4222";

    fn problems(yaml: &str) -> Vec<String> {
        let config = ServerConfig::parse(yaml).expect("the text is understood");
        let problems = config.validate().expect_err("a rule is broken");
        problems.0.iter().map(ToString::to_string).collect()
    }

    /// The paths of the problems of a `nats` section with these fields.
    fn paths(fields: &str) -> Vec<String> {
        let found = problems(&format!("nats: {{{fields}}}"));
        found
            .iter()
            .map(|text| text.split(": ").next().unwrap().to_owned())
            .collect()
    }

    fn valid(fields: &str) -> Nats {
        let config = ServerConfig::parse(&format!("nats: {{{fields}}}")).unwrap();
        config.validate().unwrap().nats.expect("NATS is configured")
    }

    #[test]
    fn without_urls_there_is_no_nats() {
        for yaml in ["", "nats: {}", "nats: {urls: [], tls: {}}"] {
            let config = ServerConfig::parse(yaml).unwrap().validate().unwrap();
            assert_eq!(config.nats, None, "{yaml:?}");
        }
    }

    #[test]
    fn one_url_is_enough() {
        assert_eq!(
            valid(&format!("urls: ['{URL}']")),
            Nats {
                urls: vec![URL.to_owned()],
                prefix: "chatcluster".to_owned(),
                replicas: 1,
                storage: NatsStorage::File,
                retention_bytes: None,
                hand_over_grace: Some(Duration::from_secs(10)),
                credentials: NatsCredentials::None,
                tls: NatsTls::default(),
            }
        );
    }

    #[test]
    fn every_other_field_needs_urls() {
        let found = problems(
            "nats: {prefix: p, replicas: 2, storage: memory, retentionBytes: 5, user: u, passwordFile: p, tokenFile: t, \
             credentialsFile: c, tls: {caFile: a, certFile: c, keyFile: k}}",
        );
        let fields = [
            "prefix",
            "replicas",
            "storage",
            "retentionBytes",
            "user",
            "passwordFile",
            "tokenFile",
            "credentialsFile",
            "tls.caFile",
            "tls.certFile",
            "tls.keyFile",
        ];
        let expected =
            fields.map(|field| format!("nats.{field}: found a value; allowed: {UNLESS_URLS}"));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in [
            "nats://localhost",
            "tls://nats.example.com:4222",
            "nats://10.0.0.1:1",
            "nats://[::1]:4222",
            "nats://[2001:db8::1]",
            "nats://my_nats.chat.svc.cluster.local.:65535",
        ] {
            assert_eq!(valid(&format!("urls: ['{good}']")).urls, [good]);
        }
        for bad in [
            "",
            "localhost:4222",
            "nats:localhost",
            "nats://",
            "nats://:4222",
            "nats://.",
            "nats://a..b",
            "nats://a:",
            "nats://a:0",
            "nats://a:+1",
            "nats://a:65536",
            "nats://a:4222/",
            "nats://a?x=1",
            "nats://a b",
            "nats://a,nats://b",
            "nats://::1",
            "nats://[::1",
            "nats://[::1]4222",
            "nats://[a]",
            "NATS://a",
            "ws://a",
            "wss://a",
            "http://a",
        ] {
            assert_eq!(paths(&format!("urls: ['{bad}']")), ["nats.urls"], "{bad:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        for url in [
            "nats://joe:sesame@a.example",
            "nats://sesame@a.example",
            "joe:sesame@a.example",
            "nats://a.example,nats://joe:sesame@b.example",
        ] {
            let found = problems(&format!("nats: {{urls: ['{url}', '{URL}']}}"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].ends_with(
                    "allowed: an address without user and password; give them by nats.user and nats.passwordFile"
                ),
                "{found:?}"
            );
            assert!(!found[0].contains("sesame"), "{found:?}");
            // Not a list: refused where the text is read.
            let found = ServerConfig::parse(&format!("nats: {{urls: '{url}'}}")).unwrap_err();
            assert!(!found.to_string().contains("sesame"), "{found}");
        }
    }

    /// The cases of `a_prefix_is_checked` in `crates/socketio-nats/src/names.rs`, and the bound from both sides.
    #[test]
    fn a_prefix_is_what_names_on_nats_may_begin_with() {
        for good in ["chat", "a.b", "team-1.chat_2", "Z", &"x".repeat(64)] {
            assert!(is_prefix(good), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "é", &long] {
            let found = paths(&format!("urls: ['{URL}'], prefix: '{bad}'"));
            assert_eq!(found, ["nats.prefix"], "{bad}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        let with = |field: &str| format!("urls: ['{URL}'], {field}");
        for (replicas, number) in [("1", 1), ("3", 3), ("5", 5)] {
            assert_eq!(
                valid(&with(&format!("replicas: {replicas}"))).replicas,
                number
            );
        }
        for replicas in ["0", "2", "4", "6", "18446744073709551615"] {
            let found = paths(&with(&format!("replicas: {replicas}")));
            assert_eq!(found, ["nats.replicas"]);
        }
        for bytes in ["1", "1048575"] {
            let found = paths(&with(&format!("retentionBytes: {bytes}")));
            assert_eq!(found, ["nats.retentionBytes"]);
        }
        assert_eq!(valid(&with("retentionBytes: 0")).retention_bytes, None);
        assert_eq!(
            valid(&with("retentionBytes: 1048576")).retention_bytes,
            Some(1 << 20)
        );
    }

    #[test]
    fn credentials_are_given_in_one_way() {
        let with = |fields: &str| format!("urls: ['{URL}'], {fields}");
        assert_eq!(
            valid(&with("user: joe, passwordFile: /p")).credentials,
            NatsCredentials::User {
                name: "joe".to_owned(),
                password_file: "/p".into()
            }
        );
        assert_eq!(
            valid(&with("tokenFile: /t")).credentials,
            NatsCredentials::Token { file: "/t".into() }
        );
        assert_eq!(
            valid(&with("credentialsFile: /c")).credentials,
            NatsCredentials::File("/c".into())
        );
        for (fields, expected) in [
            ("user: joe", "nats.passwordFile"),
            ("passwordFile: /p", "nats.user"),
            ("user: '', passwordFile: /p", "nats.user"),
            ("user: joe, passwordFile: ''", "nats.passwordFile"),
            ("tokenFile: ''", "nats.tokenFile"),
            ("credentialsFile: ''", "nats.credentialsFile"),
            ("user: joe, passwordFile: /p, tokenFile: /t", "nats"),
            ("user: joe, passwordFile: /p, credentialsFile: /c", "nats"),
            ("tokenFile: /t, credentialsFile: /c", "nats"),
        ] {
            assert_eq!(paths(&with(fields)), [expected], "{fields}");
        }
    }

    #[test]
    fn tls_files_need_tls_in_every_address() {
        let all = "tls: {caFile: /a, certFile: /c, keyFile: /k}";
        assert_eq!(
            valid(&format!("urls: ['tls://a', 'tls://b'], {all}")).tls,
            NatsTls {
                ca_file: Some("/a".into()),
                cert: Some(("/c".into(), "/k".into())),
            }
        );
        let mixed = paths(&format!("urls: ['tls://a', 'nats://b'], {all}"));
        assert_eq!(mixed, ["nats.tls"]);
        for (fields, expected) in [
            ("certFile: /c", "nats.tls.keyFile"),
            ("keyFile: /k", "nats.tls.certFile"),
            ("caFile: ''", "nats.tls.caFile"),
        ] {
            let found = paths(&format!("urls: ['tls://a'], tls: {{{fields}}}"));
            assert_eq!(found, [expected], "{fields}");
        }
    }

    #[test]
    fn a_process_with_nats_is_one_node() {
        for nodes in ["2", "auto"] {
            let found = problems(&format!("nodes: {nodes}\nnats: {{urls: ['{URL}']}}\n"));
            let expected = format!(
                "nodes: found `{nodes}`; allowed: 1 with nats.urls: one node per process with NATS; run more processes"
            );
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn all_problems_of_the_section_are_reported_at_once() {
        let found = problems(
            "nodes: 4\nnats: {urls: ['ws://a', 'nats://u:p@b'], prefix: a b, replicas: 2, retentionBytes: 7, user: u, \
             tls: {keyFile: /k}}\n",
        );
        let paths: Vec<&str> = found
            .iter()
            .map(|text| text.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "nodes",
                "nats.urls",
                "nats.urls",
                "nats.prefix",
                "nats.replicas",
                "nats.retentionBytes",
                "nats.passwordFile",
                "nats.tls.certFile",
                "nats.tls"
            ],
            "{found:#?}"
        );
    }
}
