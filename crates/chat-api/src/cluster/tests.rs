//! The definition holds the conventions, and each rule both ways, judged by an evaluator of CEL. That an API server takes
//! it is for a cluster to say.

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

/// `minimal` with `spec` laid over it.
fn with(spec: Value) -> Value {
    let mut object = minimal();
    lay(&mut object["spec"], spec);
    object
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

fn admitted(mut object: Value) -> Value {
    fill(&schema()["properties"]["spec"], &mut object["spec"]);
    object
}

/// What the rules say about `object`, or about its change from `old`.
fn judge(object: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema();
    match kube_cel::Validator::new().validate(&schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|error| error.message)
            .collect(),
    }
}

fn refused(spec: Value) -> String {
    let (written, said) = (spec.to_string(), judge(&with(spec), None));
    assert_eq!(said.len(), 1, "{written}: {said:?}");
    said.into_iter().next().unwrap()
}

fn accepted(spec: Value) {
    let (written, said) = (spec.to_string(), judge(&with(spec), None));
    assert!(said.is_empty(), "{written}: {said:?}");
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
fn a_name_becomes_the_name_of_a_service() {
    let named = |name: &str| {
        let mut object = minimal();
        object["metadata"]["name"] = name.into();
        judge(&object, None)
    };
    for good in ["chat", "a", "team-chat-2", &"a".repeat(MAX_NAME_CHARACTERS)] {
        assert!(named(good).is_empty(), "{good}: {:?}", named(good));
    }
    for bad in ["2chat", "team.chat", &"a".repeat(MAX_NAME_CHARACTERS + 1)] {
        let said = named(bad);
        assert_eq!(said.len(), 1, "{bad}: {said:?}");
        assert!(said[0].starts_with("`metadata.name` must be"), "{said:?}");
    }
}

#[test]
fn an_image_has_a_tag_or_a_digest_and_never_latest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    accepted(json!({ "image": { "repository": "r", "tag": "1.2.0" } }));
    accepted(json!({ "image": { "repository": "r", "digest": digest } }));
    for wrong in [
        json!({ "repository": "r" }),
        json!({ "repository": "r", "tag": "1", "digest": digest }),
    ] {
        assert!(
            refused(json!({ "image": wrong })).starts_with("exactly one of `tag` and `digest`")
        );
    }
    let said = refused(json!({ "image": { "repository": "r", "tag": "latest" } }));
    assert!(said.starts_with("`tag` must not be 'latest'"), "{said}");
}

#[test]
fn retention_reaches_back_as_far_as_recovery_does() {
    let retention = |seconds: i64| json!({ "server": { "historyRetentionSeconds": seconds } });
    accepted(retention(0));
    accepted(retention(175));
    let said = refused(retention(174));
    assert!(
        said.starts_with("`historyRetentionSeconds` must be 0"),
        "{said}"
    );
    let off = json!({ "connectionStateRecovery": { "state": "Disabled" } });
    let mut without = retention(55);
    lay(&mut without["server"], off);
    accepted(without);
}

#[test]
fn origins_are_those_that_browsers_send() {
    let cors = |origins: Value, credentials: &str| json!({ "server": { "cors": { "origins": origins, "credentials": credentials } } });
    accepted(cors(
        json!([
            "https://a.example",
            "http://localhost:8080",
            "http://[::1]:3000"
        ]),
        "Include",
    ));
    accepted(cors(json!(["*"]), "Omit"));
    for (origins, credentials) in [
        (json!(["*"]), "Include"),
        (json!(["*", "https://a.example"]), "Omit"),
    ] {
        assert!(
            refused(cors(origins, credentials)).starts_with("'*' in `origins` must stand alone")
        );
    }
    for origin in [
        "a.example",
        "https://A.example",
        "https://a.example/",
        "https://",
        "ftp://a.example",
    ] {
        let said = refused(cors(json!([origin]), "Omit"));
        assert!(
            said.starts_with("`origins` must be as browsers send them"),
            "{origin}: {said}"
        );
    }
}

#[test]
fn token_rules_come_with_their_type() {
    let jwt = json!({ "keySecretRef": { "name": "jwt", "key": "key" } });
    accepted(json!({ "auth": { "type": "Jwt", "jwt": jwt } }));
    assert!(refused(json!({ "auth": { "type": "Jwt" } })).starts_with("`jwt` must be set"));
    assert!(refused(json!({ "auth": { "jwt": jwt } })).starts_with("`jwt` may not be specified"));
}

#[test]
fn tokens_are_signed_with_one_key_or_with_those_of_a_set() {
    let entry = json!({ "name": "jwt", "key": "key" });
    let auth = |jwt: Value| json!({ "auth": { "type": "Jwt", "jwt": jwt } });
    for algorithm in ["HS256", "RS256", "ES256"] {
        accepted(auth(
            json!({ "algorithms": [algorithm], "keySecretRef": entry }),
        ));
    }
    accepted(auth(
        json!({ "algorithms": ["RS256", "ES256"], "jwksSecretRef": entry }),
    ));
    for refs in [
        json!({ "algorithms": ["RS256"] }),
        json!({ "algorithms": ["RS256"], "keySecretRef": entry, "jwksSecretRef": entry }),
    ] {
        let said = refused(auth(refs));
        assert!(said.starts_with("exactly one of `keySecretRef`"), "{said}");
    }
    let several = json!({ "algorithms": ["HS256", "RS256"], "keySecretRef": entry });
    let said = refused(auth(several));
    assert!(
        said.starts_with("`algorithms` must hold exactly one"),
        "{said}"
    );
}

#[test]
fn nats_needs_addresses_without_passwords() {
    for urls in [
        json!(["nats://a"]),
        json!(["tls://a.example:4222", "tls://[::1]:1"]),
    ] {
        accepted(json!({ "nats": { "urls": urls } }));
    }
    assert!(
        refused(json!({ "nats": { "urls": [] } })).starts_with("`urls` must hold at least one")
    );
    for url in [
        "ws://a",
        "nats://joe:sesame@a",
        "nats://",
        "nats://a:x",
        "nats://a/b",
    ] {
        let said: Vec<String> = judge(&with(json!({ "nats": { "urls": [url] } })), None);
        assert!(
            said.iter()
                .any(|text| text.starts_with("`urls` must be 'nats://'")),
            "{url}: {said:?}"
        );
        assert!(!said.concat().contains("sesame"), "{said:?}");
    }
    let said = refused(json!({ "nats": { "urls": ["nats://a", "tls://b"] } }));
    assert!(said.starts_with("`urls` must all begin"), "{said}");
}

#[test]
fn nats_is_told_one_way_who_the_servers_are() {
    let key = json!({ "name": "nats", "key": "k" });
    accepted(json!({ "nats": { "user": "chat", "passwordSecretRef": key } }));
    accepted(json!({ "nats": { "credentialsSecretRef": key } }));
    accepted(json!({ "nats": { "tokenSecretRef": key } }));
    for alone in [
        json!({ "user": "chat" }),
        json!({ "passwordSecretRef": key }),
    ] {
        assert!(
            refused(json!({ "nats": alone })).starts_with("`user` and `passwordSecretRef` must")
        );
    }
    let said = refused(json!({ "nats": { "tokenSecretRef": key, "credentialsSecretRef": key } }));
    assert!(said.starts_with("at most one of"), "{said}");
}

#[test]
fn tls_to_nats_has_something_to_say_and_addresses_to_say_it_to() {
    let ca = json!({ "caSecretRef": { "name": "ca", "key": "ca.crt" } });
    accepted(json!({ "nats": { "urls": ["tls://a"], "tls": ca } }));
    assert!(refused(json!({ "nats": { "tls": ca } })).starts_with("`tls` may be specified only"));
    let said = refused(json!({ "nats": { "urls": ["tls://a"], "tls": {} } }));
    assert!(said.starts_with("at least one of `caSecretRef`"), "{said}");
}

#[test]
fn the_subject_prefix_is_well_formed_and_stays() {
    let prefix = |prefix: &str| json!({ "nats": { "subjectPrefix": prefix } });
    accepted(prefix("team.chat_2"));
    for bad in ["team.", ".", "a*b", "a b"] {
        assert!(
            refused(prefix(bad)).starts_with("`subjectPrefix` must be letters"),
            "{bad}"
        );
    }
    let (old, new) = (with(prefix("a")), with(prefix("b")));
    assert!(judge(&old, Some(&old)).is_empty());
    for (before, after) in [(&old, &new), (&old, &minimal()), (&minimal(), &new)] {
        let said = judge(after, Some(before));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("`subjectPrefix` must not change"),
            "{said:?}"
        );
    }
}

#[test]
fn without_a_word_about_nats_the_operator_runs_it() {
    let object: ChatCluster = serde_json::from_value(json!({
        "apiVersion": "chatcluster.dev/v1alpha1", "kind": "ChatCluster", "metadata": { "name": "chat" }, "spec": {},
    }))
    .unwrap();
    assert_eq!(object.spec.nats.mode, NatsMode::Managed);
    let said = judge(&admitted(serde_json::to_value(&object).unwrap()), None);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn what_is_of_one_mode_of_nats_is_not_accepted_in_the_other() {
    let judged = |nats: Value| judge(&admitted(managed(&nats)), None);
    let fields = json!({
        "storageSize": "500Mi", "storageClassName": "fast", "syncIntervalSeconds": 0,
        "image": { "repository": "nats", "tag": "2.15.2" },
        "resources": { "requests": { "cpu": "2", "memory": "1Gi" }, "limits": { "cpu": "2500m", "memory": "2Gi" } },
    });
    let all = json!({ "managed": fields, "subjectPrefix": "chat", "retentionBytes": 1_048_576 });
    assert_eq!(judged(all), Vec::<String>::new());
    let key = json!({ "name": "nats", "key": "k" });
    for external in [
        json!({ "urls": ["nats://a"] }),
        json!({ "user": "chat", "passwordSecretRef": key }),
        json!({ "credentialsSecretRef": key }),
        json!({ "tokenSecretRef": key }),
    ] {
        let said = judged(external);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("`urls`, `user`, "), "{said:?}");
        assert!(said[0].contains("write `mode: External`"), "{said:?}");
    }
    let said = judged(json!({ "replicas": 3 }));
    assert!(said[0].starts_with("`replicas` must be 1 when"), "{said:?}");
    let said = judged(json!({ "storage": "Memory" }));
    assert!(
        said[0].starts_with("`storage` must be 'File' when"),
        "{said:?}"
    );
    let said = refused(json!({ "nats": { "managed": {} } }));
    assert!(said.starts_with("`managed` may not be specified"), "{said}");
}

#[test]
fn what_the_volume_of_nats_was_made_with_stays_and_so_does_whose_nats_it_is() {
    let change = |before: Value, after: Value| {
        let (before, after) = (admitted(managed(&before)), admitted(managed(&after)));
        judge(&after, Some(&before))
    };
    let fields = |fields: Value| json!({ "managed": fields });
    let default = ManagedNatsSpec::default().storage_size;
    for (before, after) in [
        (json!({}), fields(json!({}))),
        (
            json!({}),
            fields(json!({ "storageSize": default, "syncIntervalSeconds": 0 })),
        ),
        (
            fields(json!({ "storageClassName": "a" })),
            fields(json!({ "storageClassName": "a", "resources": {} })),
        ),
    ] {
        assert_eq!(change(before, after), Vec::<String>::new());
    }
    for (before, after, field) in [
        (
            json!({}),
            fields(json!({ "storageSize": "20Gi" })),
            "storageSize",
        ),
        (
            fields(json!({ "storageSize": "20Gi" })),
            json!({}),
            "storageSize",
        ),
        (
            json!({}),
            fields(json!({ "storageClassName": "a" })),
            "storageClassName",
        ),
        (
            fields(json!({ "storageClassName": "a" })),
            fields(json!({})),
            "storageClassName",
        ),
    ] {
        let said = change(before, after);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with(&format!("`managed.{field}` must not change")),
            "{said:?}"
        );
    }
    let (external, own) = (admitted(minimal()), admitted(managed(&json!({}))));
    for (before, after) in [(&external, &own), (&own, &external)] {
        let said = judge(after, Some(before));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("`mode` must not change"), "{said:?}");
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
fn copies_and_sizes_on_nats_are_those_it_knows() {
    for replicas in [1, 3, 5] {
        accepted(json!({ "nats": { "replicas": replicas, "retentionBytes": 1_048_576 } }));
    }
    for replicas in [2, 4] {
        assert!(
            refused(json!({ "nats": { "replicas": replicas } }))
                .starts_with("`replicas` must be 1, 3 or 5")
        );
    }
    assert!(
        refused(json!({ "nats": { "retentionBytes": 1 } }))
            .starts_with("`retentionBytes` must be 0")
    );
}

#[test]
fn an_ingress_has_a_controller_and_a_host_or_neither() {
    accepted(json!({ "ingress": { "controller": "Nginx", "host": "chat.example.com" } }));
    assert!(
        refused(json!({ "ingress": { "controller": "Nginx" } })).starts_with("`host` must be set")
    );
    for field in [
        json!({ "host": "a.example" }),
        json!({ "className": "nginx" }),
        json!({ "tlsSecretRef": { "name": "tls" } }),
        json!({ "annotations": { "a": "b" } }),
    ] {
        let said = refused(json!({ "ingress": field }));
        assert!(
            said.contains("may not be specified when `controller` is 'None'"),
            "{said}"
        );
    }
}

#[test]
fn every_controller_is_in_the_list_of_all() {
    let schema = schema();
    let field = &schema["properties"]["spec"]["properties"]["ingress"]["properties"]["controller"];
    let all: Vec<Value> = IngressController::ALL.map(|one| json!(one)).into();
    assert_eq!(field["enum"], Value::Array(all));
}

#[test]
fn an_ingress_at_a_gateway_names_it_and_leaves_class_and_certificate_to_it() {
    let envoy = |field: Value| {
        let mut ingress = json!({ "controller": "EnvoyGateway", "host": "a.example", "gatewayRef": { "name": "public" } });
        lay(&mut ingress, field);
        json!({ "ingress": ingress })
    };
    accepted(envoy(json!({})));
    accepted(envoy(
        json!({ "gatewayRef": { "namespace": "edge", "sectionName": "https" }, "affinity": { "secure": "Always" } }),
    ));
    for field in [
        json!({ "className": "eg" }),
        json!({ "tlsSecretRef": { "name": "tls" } }),
    ] {
        let said = refused(envoy(field));
        assert!(said.contains("name it, and its listener"), "{said}");
    }
    for wrong in [
        json!({ "controller": "EnvoyGateway", "host": "a.example" }),
        json!({ "controller": "Traefik", "host": "a.example", "gatewayRef": { "name": "public" } }),
        json!({ "gatewayRef": { "name": "public" } }),
    ] {
        let said = refused(json!({ "ingress": wrong }));
        assert!(said.starts_with("`gatewayRef` must be set when"), "{said}");
    }
}

#[test]
fn a_load_balancer_needs_no_host_and_holds_no_certificate() {
    accepted(json!({ "ingress": { "controller": "ClientIP" } }));
    accepted(
        json!({ "ingress": { "controller": "ClientIP", "host": "a.example", "annotations": { "a": "b" } } }),
    );
    for field in [
        json!({ "className": "nginx" }),
        json!({ "tlsSecretRef": { "name": "tls" } }),
    ] {
        let mut ingress = json!({ "controller": "ClientIP" });
        lay(&mut ingress, field);
        let said = refused(json!({ "ingress": ingress }));
        assert!(said.contains("when `controller` is 'ClientIP'"), "{said}");
    }
}

#[test]
fn what_a_controller_cannot_do_with_a_cookie_is_not_accepted_in_silence() {
    for controller in ["HAProxyTech", "ClientIP"] {
        let with = |affinity: Value| json!({ "ingress": { "controller": controller, "host": "a.example", "affinity": affinity } });
        accepted(with(json!({ "cookieName": "route" })));
        for affinity in [
            json!({ "maxAgeSeconds": 60 }),
            json!({ "sameSite": "Strict" }),
            json!({ "sameSite": "None" }),
            json!({ "secure": "Never" }),
        ] {
            let said = refused(with(affinity));
            assert!(said.starts_with("`affinity.maxAgeSeconds`, "), "{said}");
        }
    }
}

#[test]
fn annotations_leave_affinity_to_the_operator() {
    let annotated = |key: &str| json!({ "ingress": { "controller": "Nginx", "host": "a.example", "annotations": { key: "x" } } });
    accepted(annotated("nginx.ingress.kubernetes.io/proxy-read-timeout"));
    for key in [
        "nginx.ingress.kubernetes.io/affinity-mode",
        "nginx.ingress.kubernetes.io/session-cookie-name",
        "haproxy-ingress.github.io/affinity",
        "haproxy-ingress.github.io/session-cookie-keywords",
        "chatcluster.dev/desired-hash",
    ] {
        assert!(
            refused(annotated(key)).starts_with("`annotations` must not hold"),
            "{key}"
        );
    }
}

#[test]
fn a_cookie_for_other_sites_is_a_secure_one() {
    let affinity = |affinity: Value| json!({ "ingress": { "controller": "Nginx", "host": "a.example", "affinity": affinity } });
    let mut with_tls = affinity(json!({ "sameSite": "None" }));
    with_tls["ingress"]["tlsSecretRef"] = json!({ "name": "tls" });
    accepted(with_tls);
    accepted(affinity(json!({ "sameSite": "None", "secure": "Always" })));
    for secure in ["Auto", "Never"] {
        let said = refused(affinity(json!({ "sameSite": "None", "secure": secure })));
        assert!(
            said.starts_with("`affinity.sameSite: None` needs"),
            "{said}"
        );
    }
}

#[test]
fn a_drain_lasts_longer_than_it_settles() {
    accepted(json!({ "drain": { "settleSeconds": 3, "deadlineSeconds": 4 } }));
    let said = refused(json!({ "drain": { "settleSeconds": 3, "deadlineSeconds": 3 } }));
    assert!(
        said.starts_with("`deadlineSeconds` must be greater"),
        "{said}"
    );
}

#[test]
fn what_is_not_a_field_is_not_in_the_contract() {
    let wrong = json!({ "nats": { "mode": "External" }, "replica": 3 });
    let spec: ChatClusterSpec = serde_json::from_value(wrong).unwrap();
    // An API server prunes it, or refuses it (`kubectl --validate=strict`); it never reaches the operator.
    assert_eq!(spec.replicas, 1);
}
