//! `docs/configuration.md` names every field of the file with its default, and no other.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use chatcluster_chat_api::{
    ApiSection, JwtSection, NatsSection, NatsTlsSection, RelaySection, ServerConfig,
};
use serde_yaml::Value;

/// Every field that can be written, with its default as it is written.
fn fields() -> BTreeMap<String, String> {
    let mut config = ServerConfig::default();
    // Absent from a default that is written out, but fields all the same.
    config.auth.jwt = Some(JwtSection {
        key_file: Some("".into()),
        jwks_file: Some("".into()),
        issuer: Some(String::new()),
        audience: Some(String::new()),
        ..JwtSection::default()
    });
    config.nats = NatsSection {
        user: Some(String::new()),
        password_file: Some("".into()),
        token_file: Some("".into()),
        credentials_file: Some("".into()),
        tls: NatsTlsSection {
            ca_file: Some("".into()),
            cert_file: Some("".into()),
            key_file: Some("".into()),
        },
        ..config.nats
    };
    config.api = ApiSection {
        token_file: Some("".into()),
        ..config.api
    };
    config.relay = RelaySection {
        listen: Some(unspecified()),
        advertise: Some(unspecified()),
        secret_file: Some("".into()),
        ..config.relay
    };
    let tree = serde_yaml::to_value(&config).expect("a configuration can be written");
    let mut fields = BTreeMap::new();
    collect("", &tree, &mut fields);
    fields
}

/// Stands for an address that has no default.
fn unspecified() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

fn collect(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let Value::Mapping(mapping) = value else {
        fields.insert(path.to_owned(), written(value));
        return;
    };
    for (key, value) in mapping {
        let key = key.as_str().expect("a field's name is text");
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        collect(&path, value, fields);
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || *text == unspecified().to_string() => {
            "none".to_owned()
        }
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Sequence(list) => {
            let items: Vec<String> = list.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        other => panic!("a field of a kind that the document has no form for: {other:?}"),
    }
}

/// The rows of the document's tables: field and default.
fn rows() -> BTreeMap<String, String> {
    let text = include_str!("../../../docs/configuration.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let field = cells.next()?.strip_suffix('`')?;
        let default = cells.nth(1)?.trim_matches('`');
        Some((field.to_owned(), default.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_field_is_documented_with_its_default_and_no_other() {
    assert_eq!(rows(), fields());
}
