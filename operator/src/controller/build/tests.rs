//! Whole objects, as they are sent: for the two examples, and where another wish changes them.

use chatcluster_chat_api::ServerConfig;
use chatcluster_chat_api::cluster::{ChatCluster, LogLevel, Presence, TopologySpread, Transport};
use serde_json::{Value, json};

use super::*;
use crate::fixtures;
use crate::names::CONFIG_KEY;

fn children(cluster: &ChatCluster) -> Children {
    build(&fixtures::validate(cluster).unwrap()).unwrap()
}

/// Everything in the order of application, as one stream of YAML documents.
fn manifest(children: Children) -> String {
    let Children {
        service_account,
        peers,
        nats,
        config_map,
        headless_service,
        client_service,
        api_service,
        network_policy,
        disruption_budget,
        stateful_set,
        ingress,
        extensions,
    } = children;
    let mut documents: Vec<Value> = vec![json!(service_account), json!(peers)];
    documents.extend(nats.into_iter().flat_map(of_nats));
    documents.extend([
        json!(config_map),
        json!(headless_service),
        json!(client_service),
        json!(api_service),
        json!(network_policy),
        json!(disruption_budget),
        json!(stateful_set),
        json!(ingress),
    ]);
    documents.extend(extensions.iter().map(|one| json!(one)));
    let documents = documents.iter().filter(|document| !document.is_null());
    documents
        .map(|document| serde_yaml::to_string(document).unwrap())
        .collect::<Vec<_>>()
        .join("---\n")
}

fn of_nats(nats: Nats) -> Vec<Value> {
    let Nats {
        secret,
        config_map,
        service,
        network_policy,
        stateful_set,
    } = nats;
    vec![
        json!(secret),
        json!(config_map),
        json!(service),
        json!(network_policy),
        json!(stateful_set),
    ]
}

/// `examples/chatcluster-managed.yaml` has every field of a NATS that the operator runs.
#[test]
fn the_example_with_all_of_managed_nats_builds_these_objects() {
    let nats = children(&fixtures::managed()).nats.unwrap();
    let documents = of_nats(nats);
    let documents: Vec<String> = documents
        .iter()
        .map(|document| serde_yaml::to_string(document).unwrap())
        .collect();
    insta::assert_snapshot!("managed-nats", documents.join("---\n"));
}

#[test]
fn the_minimal_example_builds_these_objects() {
    insta::assert_snapshot!("minimal", manifest(children(&fixtures::minimal())));
}

#[test]
fn the_full_example_builds_these_objects() {
    insta::assert_snapshot!("full", manifest(children(&fixtures::full())));
}

#[test]
fn the_same_wish_builds_the_same_bytes() {
    let cluster = fixtures::full();
    assert_eq!(manifest(children(&cluster)), manifest(children(&cluster)));
}

#[test]
fn the_server_reads_what_is_rendered() {
    for cluster in [fixtures::minimal(), fixtures::full()] {
        let config_map = children(&cluster).config_map;
        let yaml = &config_map.data.unwrap()[CONFIG_KEY];
        let read = ServerConfig::parse(yaml).expect("the server's own parser takes it");
        let config = read.validate().expect("the server's own rules hold");
        assert!(config.nats.is_some());
        assert_eq!(config.limits.connections_per_address, None);
        assert!(config.relay.unwrap().secret_file.is_some());
    }
}

#[test]
fn files_that_the_configuration_names_are_mounted() {
    let children = children(&fixtures::full());
    let container = &children
        .stateful_set
        .spec
        .unwrap()
        .template
        .spec
        .unwrap()
        .containers[0];
    let mounts: Vec<&str> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| mount.mount_path.as_str())
        .collect();
    let yaml = &children.config_map.data.unwrap()[CONFIG_KEY];
    let files: Vec<&str> = yaml
        .split_whitespace()
        .filter(|word| word.starts_with("/etc/"))
        .collect();
    assert_eq!(files.len(), 7, "{yaml}");
    for file in files {
        assert!(
            mounts
                .iter()
                .any(|mount| file.starts_with(&format!("{mount}/"))),
            "{file} is in none of {mounts:?}"
        );
    }
}

#[test]
fn what_servers_do_not_take_over_rolls_the_pods_and_the_rest_does_not() {
    let of = |change: &dyn Fn(&mut ChatCluster)| {
        let mut cluster = fixtures::full();
        change(&mut cluster);
        let children = children(&cluster);
        let template = json!(children.stateful_set)["spec"]["template"].clone();
        (template, children.config_map)
    };
    let (template, config_map) = of(&|_| ());
    let in_place: [&dyn Fn(&mut ChatCluster); 5] = [
        &|cluster| cluster.spec.server.max_connections = 1000,
        &|cluster| cluster.spec.server.log_level = LogLevel::Warn,
        &|cluster| cluster.spec.drain.clients_per_second = 7,
        &|cluster| cluster.spec.auth.jwt.as_mut().unwrap().issuer = Some("other".to_owned()),
        &|cluster| {
            cluster
                .spec
                .auth
                .jwt
                .as_mut()
                .unwrap()
                .algorithms
                .truncate(1)
        },
    ];
    for change in in_place {
        let (same, changed) = of(change);
        assert_eq!(same, template);
        assert_ne!(changed.data, config_map.data);
    }
    let by_rollout: [&dyn Fn(&mut ChatCluster); 4] = [
        &|cluster| cluster.spec.server.ping_timeout_milliseconds = 9000,
        &|cluster| cluster.spec.image.as_mut().unwrap().repository = "other".to_owned(),
        // A field more than servers of the old revision may know.
        &|cluster| cluster.spec.auth.jwt.as_mut().unwrap().issuer = None,
        &|cluster| cluster.spec.drain.deadline_seconds = 99,
    ];
    for change in by_rollout {
        let (other, _) = of(change);
        assert_ne!(other, template);
    }
}

#[test]
fn more_pods_are_the_same_pods() {
    let mut cluster = fixtures::minimal();
    let before = children(&cluster);
    cluster.spec.replicas = 5;
    let after = children(&cluster);
    assert_eq!(
        json!(before.stateful_set)["spec"]["template"],
        json!(after.stateful_set)["spec"]["template"]
    );
}

#[test]
fn what_is_switched_off_is_not_built() {
    let mut cluster = fixtures::minimal();
    cluster.spec.availability.pod_disruption_budget = Presence::Disabled;
    cluster.spec.availability.topology_spread = TopologySpread::Disabled;
    cluster.spec.network_policy = Presence::Disabled;
    let children = children(&cluster);
    assert!(
        children.disruption_budget.is_none()
            && children.api_service.is_none()
            && children.network_policy.is_none()
            && children.ingress.is_none()
    );
    let pod = children.stateful_set.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.topology_spread_constraints, None);
}

#[test]
fn without_polling_nothing_is_sticky() {
    let mut cluster = fixtures::full();
    cluster.spec.server.transports = vec![Transport::WebSocket];
    let annotations = children(&cluster)
        .ingress
        .unwrap()
        .metadata
        .annotations
        .unwrap();
    assert!(
        !annotations
            .keys()
            .any(|key| key.contains("affinity") || key.contains("cookie")),
        "{annotations:?}"
    );
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"], "7200",
        "the user's own"
    );
}

#[test]
fn a_pod_template_changes_pods_but_not_how_they_are_found() {
    let mut cluster = fixtures::minimal();
    let over = json!({
        "metadata": { "labels": { "app.kubernetes.io/instance": "other", "chatcluster.dev/accepting": "false", "mine": "x" } },
        "spec": { "priorityClassName": "high", "containers": [{ "name": "server", "env": [{ "name": "A", "value": "b" }] }] },
    });
    cluster.spec.pod_template = over.as_object().cloned();
    let template = children(&cluster).stateful_set.spec.unwrap().template;
    let labels = template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/instance"], "chat");
    assert_eq!(labels["chatcluster.dev/accepting"], "true");
    assert_eq!(labels["mine"], "x");
    let spec = template.spec.unwrap();
    assert_eq!(spec.priority_class_name.as_deref(), Some("high"));
    assert_eq!(spec.containers.len(), 1, "containers are joined by name");
    assert_eq!(
        spec.containers[0].image.as_deref(),
        Some("registry.example.com/chatcluster-server:0.1.0")
    );
}

#[test]
fn every_child_has_its_owner_and_its_labels() {
    let cluster = fixtures::full();
    let children = children(&cluster);
    assert!(children.nats.is_none());
    let own = build(&fixtures::validate(&fixtures::minimal()).unwrap()).unwrap();
    let nats = own.nats.unwrap();
    for meta in [
        &children.service_account.metadata,
        &children.peers.metadata,
        &nats.secret.metadata,
        &nats.config_map.metadata,
        &nats.service.metadata,
        &nats.network_policy.unwrap().metadata,
        &nats.stateful_set.metadata,
        &children.config_map.metadata,
        &children.headless_service.metadata,
        &children.client_service.metadata,
        &children.api_service.unwrap().metadata,
        &children.network_policy.unwrap().metadata,
        &children.disruption_budget.unwrap().metadata,
        &children.stateful_set.metadata,
        &children.ingress.unwrap().metadata,
    ] {
        let owner = &meta.owner_references.as_ref().unwrap()[0];
        assert_eq!(
            (Some(&owner.uid), owner.controller),
            (cluster.metadata.uid.as_ref(), Some(true))
        );
        assert_eq!(
            meta.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"],
            "chatcluster-operator"
        );
        assert!(meta.name.as_ref().unwrap().len() <= 63);
    }
}
