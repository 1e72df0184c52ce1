//! The definition holds the conventions. That an API server takes it is for a cluster to say.

mod rules;

use serde_json::{Value, json};

use super::*;

/// The schema of `v1alpha1` as the API server gets it.
fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every node of the schema with its path.
fn nodes<'a>(path: &str, node: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((path.to_owned(), node));
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        nodes(&format!("{path}.{name}"), property, found);
    }
    for (word, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if node[word].is_object() {
            nodes(&format!("{path}{suffix}"), &node[word], found);
        }
    }
}

fn minimal() -> Value {
    json!({
        "apiVersion": "chatcluster.dev/v1alpha1", "kind": "ChatCluster",
        "metadata": { "name": "chat" },
        "spec": { "nats": { "mode": "External", "urls": ["nats://nats:4222"] } },
    })
}

fn lay(under: &mut Value, over: Value) {
    match over {
        Value::Object(fields) if under.is_object() => {
            for (name, value) in fields {
                lay(&mut under[name.as_str()], value);
            }
        }
        other => *under = other,
    }
}

/// One whose NATS the operator runs, as it passed an API server.
fn managed(nats: &Value) -> Value {
    let mut object = minimal();
    object["spec"] = json!({ "nats": nats });
    object
}

#[test]
fn every_value_is_bounded_and_every_list_typed() {
    let schema = schema();
    let mut found = Vec::new();
    nodes("", &schema, &mut found);
    for (path, node) in found {
        let bounded = |words: &[&str]| words.iter().any(|word| !node[*word].is_null());
        let open = node["x-kubernetes-preserve-unknown-fields"] == true;
        let ok = match node["type"].as_str() {
            _ if path.is_empty()
                || path == ".metadata"
                || path == ".apiVersion"
                || path == ".kind" =>
            {
                true
            }
            Some("string") => bounded(&["maxLength", "enum", "format"]),
            Some("integer") => {
                bounded(&["minimum"]) && (path.starts_with(".status") || bounded(&["maximum"]))
            }
            Some("array") => bounded(&["maxItems"]) && bounded(&["x-kubernetes-list-type"]),
            Some("object") => open || bounded(&["properties", "maxProperties"]),
            _ => false,
        };
        assert!(ok, "{path}: {node}");
        assert!(node["nullable"].is_null(), "{path} is nullable");
        assert!(
            !node["format"]
                .as_str()
                .unwrap_or_default()
                .starts_with("uint"),
            "{path}: API servers know no unsigned format"
        );
    }
}

#[test]
fn every_field_is_explained_and_begins_with_its_name() {
    let schema = schema();
    let mut found = Vec::new();
    nodes("", &schema, &mut found);
    for (path, node) in found {
        let Some((_, name)) = path.rsplit_once('.') else {
            continue;
        };
        if name.ends_with("[]")
            || name.ends_with("{}")
            || ["spec", "status", "metadata", "apiVersion", "kind"].contains(&name)
        {
            continue;
        }
        let said = node["description"].as_str().unwrap_or_default();
        assert!(said.starts_with(&format!("{name} ")), "{path}: {said:?}");
        assert!(!said.contains('\n'), "{path}: {said:?}");
    }
}

#[test]
fn only_what_has_no_default_must_be_written() {
    let schema = schema();
    let mut found = Vec::new();
    nodes("", &schema, &mut found);
    let required: Vec<String> = found
        .iter()
        .filter(|(path, _)| !path.starts_with(".status"))
        .flat_map(|(path, node)| {
            let names = node["required"].as_array().into_iter().flatten();
            names.map(move |name| format!("{path}.{}", name.as_str().unwrap()))
        })
        .filter(|path| !path.ends_with("Ref.name") && !path.ends_with("Ref.key"))
        .collect();
    assert_eq!(
        required,
        [
            ".spec",
            ".spec.api.tokensSecretRef",
            ".spec.image.repository",
            ".spec.nats.managed.image.repository"
        ]
    );
}

#[test]
fn every_optional_field_of_spec_has_a_default_or_may_be_absent() {
    let schema = schema();
    for object in [
        minimal(),
        managed(&json!({})),
        managed(&json!({ "managed": {} })),
        managed(&json!({ "managed": { "resources": { "limits": {} } } })),
    ] {
        let read: ChatCluster = serde_json::from_value(object.clone()).unwrap();
        let written = serde_json::to_value(&read.spec).unwrap();
        // What Rust fills in is what the schema fills in: an object that passed an API server means the same.
        let mut filled = object["spec"].clone();
        fill(&schema["properties"]["spec"], &mut filled);
        assert_eq!(written, filled);
    }
}

/// Defaults as an API server fills them in.
fn fill(schema: &Value, value: &mut Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if value[name].is_null() && !property["default"].is_null() {
            value[name.as_str()] = property["default"].clone();
        }
        if value[name].is_object() {
            fill(property, &mut value[name.as_str()]);
        }
    }
}

#[test]
fn sizes_of_nats_are_read_as_kubernetes_reads_them() {
    for (size, bytes) in [
        ("512Mi", 536_870_912),
        ("10Gi", 10_737_418_240),
        ("2Ti", 2_199_023_255_552),
    ] {
        let spec = ManagedNatsSpec {
            storage_size: size.to_owned(),
            ..ManagedNatsSpec::default()
        };
        assert_eq!(spec.storage_bytes(), bytes, "{size}");
    }
    let limits = |memory: Option<&str>| NatsLimits {
        memory: memory.map(str::to_owned),
        ..NatsLimits::default()
    };
    assert_eq!(limits(Some("1Gi")).memory_bytes(), Some(1_073_741_824));
    assert_eq!(limits(None).memory_bytes(), None);
}

#[test]
fn every_controller_is_in_the_list_of_all() {
    let schema = schema();
    let field = &schema["properties"]["spec"]["properties"]["ingress"]["properties"]["controller"];
    let all: Vec<Value> = IngressController::ALL.map(|one| json!(one)).into();
    assert_eq!(field["enum"], Value::Array(all));
}

#[test]
fn what_is_not_a_field_is_not_in_the_contract() {
    let wrong = json!({ "nats": { "mode": "External" }, "replica": 3 });
    let spec: ChatClusterSpec = serde_json::from_value(wrong).unwrap();
    // An API server prunes it, or refuses it (`kubectl --validate=strict`); it never reaches the operator.
    assert_eq!(spec.replicas, 1);
}

#[test]
fn without_a_word_about_nats_the_operator_runs_it() {
    let spec: ChatClusterSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(spec.nats.mode, NatsMode::Managed);
}
