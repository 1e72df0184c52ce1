//! Text to [`ServerConfig`], reporting every wrong field instead of only the first.
//!
//! The text becomes a tree, and the tree a [`ServerConfig`]. Where that fails, the failing field is
//! noted and taken out of the tree, and the rest is tried again; so the list of fields stands only
//! in the structs.

use serde_path_to_error::{Path, Segment};
use serde_yaml::Value;

use crate::{Problem, Problems, ServerConfig, nats::NOT_SHOWN};

/// More problems than anyone reads; also the bound of the loop below.
const MAX_PROBLEMS: usize = 100;

impl ServerConfig {
    /// Reads YAML; fails if anything in it is not understood.
    ///
    /// ```
    /// use chatcluster_chat_api::ServerConfig;
    ///
    /// let problems = ServerConfig::parse("nodes: 65\nengine: {pingIntervall: 5s}").unwrap_err();
    /// assert_eq!(problems.0.len(), 2);
    /// ```
    pub fn parse(yaml: &str) -> Result<Self, Problems> {
        match Self::parse_all(yaml) {
            (config, problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(Problems(problems)),
        }
    }

    /// Reads what can be read: wrong fields keep their default and are listed.
    pub fn parse_all(yaml: &str) -> (Self, Vec<Problem>) {
        let mut tree = match serde_yaml::from_str::<Value>(yaml) {
            Ok(Value::Null) => return (Self::default(), Vec::new()),
            Ok(tree) => tree,
            Err(error) => {
                let problem = Problem::new("(file)", error, "YAML with each key once");
                return (Self::default(), vec![problem]);
            }
        };
        let mut problems = Vec::new();
        while problems.len() < MAX_PROBLEMS {
            let error = match serde_path_to_error::deserialize(&tree) {
                Ok(config) => return (config, problems),
                Err(error) => error,
            };
            let taken = take(&mut tree, error.path());
            problems.push(describe(
                error.path(),
                taken.as_ref(),
                &error.inner().to_string(),
            ));
            if taken.is_none() {
                break;
            }
        }
        (Self::default(), problems)
    }
}

/// Removes the value at `path`.
fn take(tree: &mut Value, path: &Path) -> Option<Value> {
    let mut segments: Vec<&Segment> = path.iter().collect();
    let last = segments.pop()?;
    let parent = segments
        .into_iter()
        .try_fold(tree, |node, segment| match segment {
            Segment::Map { key } => node.get_mut(key.as_str()),
            Segment::Seq { index } => node.get_mut(*index),
            Segment::Enum { .. } | Segment::Unknown => None,
        })?;
    match last {
        Segment::Map { key } => parent.as_mapping_mut()?.shift_remove(key.as_str()),
        Segment::Seq { index } => {
            let list = parent.as_sequence_mut()?;
            (*index < list.len()).then(|| list.remove(*index))
        }
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn describe(path: &Path, taken: Option<&Value>, message: &str) -> Problem {
    let path = render(path);
    let expected = message
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    if message.starts_with("unknown field") {
        let fields: Vec<&str> = quoted(expected.unwrap_or_default());
        let name = path.rsplit('.').next().unwrap_or_default();
        let hint = nearest(name, &fields)
            .map(|field| format!("did you mean `{field}`? The fields here are: "))
            .unwrap_or_default();
        return Problem::new(
            path,
            "an unknown field",
            format!("{hint}{}", fields.join(", ")),
        );
    }
    let found = taken.map_or_else(|| message.to_owned(), found);
    Problem::new(path, found, allowed(expected.unwrap_or(message)))
}

/// The path in dots. Positions in lists are left out: taking an entry out moves the later ones.
fn render(path: &Path) -> String {
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.as_str()),
            _ => None,
        })
        .collect();
    if keys.is_empty() {
        "(file)".to_owned()
    } else {
        keys.join(".")
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::String(value) if value.contains('@') => NOT_SHOWN.to_owned(),
        Value::String(value) => format!("`{}`", value.escape_debug()),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a group of fields".to_owned(),
        Value::Tagged(tagged) => format!("the tag `{}`", tagged.tag),
    }
}

/// Replaces the library's names of types by words that an operator knows.
fn allowed(expected: &str) -> String {
    match expected {
        "u64" | "u32" | "u16" => "an integer of 0 or more",
        "a boolean" => "`true` or `false`",
        "socket address" | "invalid socket address syntax" => {
            "an address and port such as `127.0.0.1:3000`"
        }
        "path string" | "a string" => "a text",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "a group of fields",
        other => other,
    }
    .to_owned()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn nearest<'a>(name: &str, fields: &[&'a str]) -> Option<&'a str> {
    fields
        .iter()
        .map(|field| {
            (
                strsim::jaro_winkler(&name.to_lowercase(), &field.to_lowercase()),
                *field,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(yaml: &str) -> Vec<String> {
        let problems = ServerConfig::parse(yaml).expect_err("the text has problems");
        problems.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        for yaml in ["", "# nothing\n", "{}"] {
            assert_eq!(
                ServerConfig::parse(yaml),
                Ok(ServerConfig::default()),
                "{yaml:?}"
            );
        }
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let found = problems(
            "listen: here\nnodes: 0\nengine:\n  pingInterval: 5 seconds\n  maxPayloadBytes: -1\n  \
             transports: [quic, polling, carrier]\ncors: yes please\nauth: {type: Basic}\n",
        );
        assert_eq!(
            found,
            [
                "listen: found `here`; allowed: an address and port such as `127.0.0.1:3000`",
                "nodes: found `0`; allowed: an integer from 1 to 64, or `auto`",
                "engine.pingInterval: found `5 seconds`; allowed: a duration such as `500ms`, `25s`, `2m`, `12h` or `30d`",
                "engine.maxPayloadBytes: found `-1`; allowed: an integer of 0 or more",
                "engine.transports: found `quic`; allowed: `polling` or `websocket`",
                "engine.transports: found `carrier`; allowed: `polling` or `websocket`",
                "cors: found `yes please`; allowed: a group of fields",
                "auth.type: found `Basic`; allowed: `None` or `Jwt`",
            ]
        );
    }

    #[test]
    fn unknown_fields_are_all_reported_with_the_nearest_name() {
        let found =
            problems("liste: x\nengine: {pingintervall: 5s}\nzzz:\nlimits: {connections: 5}\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("liste: found an unknown field; allowed: did you mean `listen`?"),
            "{found:?}"
        );
        assert!(found[1].starts_with("engine.pingintervall: found an unknown field; allowed: did you mean `pingInterval`?"), "{found:?}");
        assert!(
            found[2].starts_with("zzz: found an unknown field; allowed: listen, adminListen, "),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_right_is_kept_beside_what_is_wrong() {
        let (config, problems) = ServerConfig::parse_all("nodes: 4\nlogLevel: loud\n");
        assert_eq!(config.nodes, crate::Nodes::Count(4));
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn broken_yaml_and_repeated_keys_are_one_problem() {
        for yaml in ["listen: [", "nodes: 1\nnodes: 2\n", "- a\n", "just text"] {
            let found = problems(yaml);
            assert_eq!(found.len(), 1, "{yaml:?}: {found:?}");
            assert!(found[0].starts_with("(file): "), "{found:?}");
        }
    }

    #[test]
    fn a_config_survives_being_written_and_read() {
        let mut config = ServerConfig::default();
        let written = serde_yaml::to_string(&config).unwrap();
        assert_eq!(ServerConfig::parse(&written), Ok(config.clone()));
        assert!(written.contains("pingInterval: 25s"), "{written}");

        config.nodes = crate::Nodes::Auto;
        config.cors.origins = vec!["https://chat.example.com".to_owned()];
        config.auth.kind = crate::AuthType::Jwt;
        config.auth.jwt = Some(crate::JwtSection {
            algorithms: vec![crate::JwtAlgorithm::Rs256, crate::JwtAlgorithm::Es256],
            key_file: Some("/run/secrets/key".into()),
            jwks_file: Some("/run/secrets/jwks.json".into()),
            issuer: Some("https://issuer.example.com".to_owned()),
            ..Default::default()
        });
        config.drain.settle = "1500ms".parse().unwrap();
        config.nats = crate::NatsSection {
            urls: vec!["tls://nats.example.com:4222".to_owned()],
            prefix: "team.chat".to_owned(),
            replicas: 3,
            storage: crate::NatsStorage::Memory,
            retention_bytes: 1 << 30,
            hand_over_grace: "7s".parse().unwrap(),
            user: Some("chat".to_owned()),
            password_file: Some("/run/secrets/password".into()),
            token_file: Some("/run/secrets/token".into()),
            credentials_file: Some("/run/secrets/chat.creds".into()),
            tls: crate::NatsTlsSection {
                ca_file: Some("/run/secrets/ca.pem".into()),
                cert_file: Some("/run/secrets/cert.pem".into()),
                key_file: Some("/run/secrets/key.pem".into()),
            },
        };
        config.api.token_file = Some("/run/secrets/tokens".into());
        config.relay = crate::RelaySection {
            enabled: false,
            listen: Some(([0, 0, 0, 0], 3001).into()),
            advertise: Some(([10, 0, 0, 7], 3001).into()),
            secret_file: Some("/run/secrets/relay".into()),
        };
        let written = serde_yaml::to_string(&config).unwrap();
        assert_eq!(ServerConfig::parse(&written), Ok(config));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-zA-Z0-9:{}\\[\\]\\-!&*#,. \n]{0,200}") {
            let _read = ServerConfig::parse_all(&text);
        }
    }
}
