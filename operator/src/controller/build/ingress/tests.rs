//! Whole objects of each dialect; what holds for all of them; and that the documentation names what they write.

use std::collections::BTreeSet;
use std::path::Path;

use chatcluster_chat_api::cluster::{
    AffinitySpec, ChatCluster, GatewayReference, IngressSpec as Wish, SameSite, Transport,
};
use serde_json::{Value, json};

use super::*;
use crate::controller::build::{Children, build};
use crate::fixtures;

/// The example's ingress as the schema lets it be for this controller.
fn with(mut cluster: ChatCluster, controller: IngressController) -> ChatCluster {
    let wish = &mut cluster.spec.ingress;
    wish.controller = controller;
    wish.host.get_or_insert("chat.example.com".to_owned());
    let key = "nginx.ingress.kubernetes.io/proxy-read-timeout";
    wish.annotations.remove(key);
    let name_only = AffinitySpec {
        cookie_name: wish.affinity.cookie_name.clone(),
        ..Default::default()
    };
    match controller {
        IngressController::None => *wish = Wish::default(),
        IngressController::Nginx
        | IngressController::Traefik
        | IngressController::HaProxyIngress => {}
        IngressController::HaProxyTech => wish.affinity = name_only,
        IngressController::EnvoyGateway => {
            (wish.class_name, wish.tls_secret_ref) = (None, None);
            wish.gateway_ref = Some(GatewayReference {
                name: "public".to_owned(),
                namespace: Some("edge".to_owned()),
                section_name: Some("https".to_owned()),
            });
        }
        IngressController::ClientIp => {
            (wish.class_name, wish.tls_secret_ref) = (None, None);
            wish.affinity = name_only;
        }
    }
    cluster
}

fn children(cluster: &ChatCluster) -> Children {
    build(&fixtures::validate(cluster).unwrap()).unwrap()
}

/// The objects that lead clients in: Service, Ingress, extensions.
fn objects(cluster: &ChatCluster) -> Vec<Value> {
    let children = children(cluster);
    let mut all = vec![json!(children.client_service), json!(children.ingress)];
    all.extend(children.extensions.iter().map(|one| json!(one)));
    all.retain(|object| !object.is_null());
    all
}

fn text(controller: IngressController) -> String {
    json!(controller).as_str().unwrap().to_owned()
}

#[test]
fn each_dialect_builds_these_objects() {
    for controller in IngressController::ALL {
        for (name, base) in [("minimal", fixtures::minimal()), ("full", fixtures::full())] {
            let documents: Vec<String> = objects(&with(base, controller))
                .iter()
                .map(|object| serde_yaml::to_string(object).unwrap())
                .collect();
            let name = format!("{}-{name}", text(controller));
            insta::assert_snapshot!(name, documents.join("---\n"));
        }
    }
}

#[test]
fn without_polling_no_dialect_is_sticky() {
    for controller in IngressController::ALL {
        let mut cluster = with(fixtures::minimal(), controller);
        let sticky = json!(objects(&cluster)).to_string();
        cluster.spec.server.transports = vec![Transport::WebSocket];
        let plain = json!(objects(&cluster)).to_string();
        let words = ["ookie", "ffinity", "sistentHash"];
        assert!(
            !words.iter().any(|word| plain.contains(word)),
            "{controller:?}: {plain}"
        );
        let is_sticky = words.iter().any(|word| sticky.contains(word));
        assert_eq!(is_sticky, controller != IngressController::None, "{sticky}");
    }
}

#[test]
fn no_time_out_is_shorter_than_the_heartbeats_need() {
    let mut asked = 0;
    for controller in IngressController::ALL {
        let mut cluster = with(fixtures::minimal(), controller);
        cluster.spec.server.ping_interval_milliseconds = 300_000;
        cluster.spec.server.ping_timeout_milliseconds = 300_000;
        for object in objects(&cluster) {
            let annotations = object["metadata"]["annotations"].as_object();
            for (key, value) in annotations.into_iter().flatten() {
                if key.contains("timeout") {
                    let seconds = value.as_str().unwrap().trim_end_matches('s');
                    assert!(seconds.parse::<u32>().unwrap() >= 601, "{key}: {value}");
                    asked += 1;
                }
            }
        }
    }
    assert_eq!(
        asked, 5,
        "two of Nginx, one of HAProxyTech, two of HAProxyIngress"
    );
}

#[test]
fn a_connection_is_capped_by_a_reload_or_by_the_users_own_annotation() {
    let reason = |cluster: &ChatCluster| cap(&validate::route(cluster)).map(|cap| cap.reason);
    for controller in IngressController::ALL {
        let said = reason(&with(fixtures::full(), controller));
        let reloads = [
            IngressController::Nginx,
            IngressController::HaProxyTech,
            IngressController::HaProxyIngress,
        ];
        let expected = reloads
            .contains(&controller)
            .then_some("ReloadEndsConnections");
        assert_eq!(said, expected, "{controller:?}");
    }
    let mut nginx = with(fixtures::full(), IngressController::Nginx);
    let key = "nginx.ingress.kubernetes.io/proxy-read-timeout";
    for (value, expected) in [
        ("35", "SilenceEndsConnections"),
        ("36", "ReloadEndsConnections"),
    ] {
        nginx
            .spec
            .ingress
            .annotations
            .insert(key.to_owned(), value.to_owned());
        assert_eq!(reason(&nginx), Some(expected), "{value}");
    }
    let message = cap(&validate::route(&nginx)).unwrap().message;
    assert!(message.contains("worker-shutdown-timeout"), "{message}");
}

#[test]
fn annotations_of_the_user_are_on_what_leads_clients_in() {
    for controller in IngressController::ALL {
        let cluster = with(fixtures::full(), controller);
        let carriers: Vec<Value> = objects(&cluster)
            .iter()
            .filter(|object| {
                object["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "letsencrypt"
            })
            .map(|object| object["kind"].clone())
            .collect();
        let expected = match controller {
            IngressController::None => vec![],
            IngressController::ClientIp => vec![json!("Service")],
            IngressController::EnvoyGateway => vec![json!("HTTPRoute")],
            _ => vec![json!("Ingress")],
        };
        assert_eq!(carriers, expected, "{controller:?}");
    }
}

/// A new dialect shall be one file here, and a name in the contract: so no other file may ask which one it is.
#[test]
fn only_this_module_knows_dialects_by_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let naming: Vec<_> = files
        .iter()
        .filter(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.contains("IngressController::")
        })
        .map(|file| file.strip_prefix(&source).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        naming,
        ["controller/build/ingress.rs"],
        "tests apart, a dialect is named nowhere else"
    );
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if !path.ends_with("tests.rs") && path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// Annotations by key, and fields of Service and extensions by path, as far as dialects write them.
fn written() -> BTreeSet<String> {
    let plain = objects(&with(fixtures::full(), IngressController::None)).remove(0);
    let mut all = BTreeSet::new();
    for controller in IngressController::ALL {
        let mut other_sites = with(fixtures::full(), controller);
        if other_sites.spec.ingress.affinity.same_site == SameSite::Strict {
            other_sites.spec.ingress.affinity.same_site = SameSite::None;
        }
        for cluster in [with(fixtures::full(), controller), other_sites] {
            for object in objects(&cluster) {
                let kind = object["kind"].as_str().unwrap();
                let path = format!("{kind}.spec");
                let annotations = object["metadata"]["annotations"].as_object();
                all.extend(
                    annotations
                        .into_iter()
                        .flatten()
                        .map(|(key, _)| key.clone()),
                );
                match kind {
                    "Ingress" => {}
                    "Service" => fields(&path, &object["spec"], &plain["spec"], &mut all),
                    _ => fields(&path, &object["spec"], &Value::Null, &mut all),
                }
            }
        }
    }
    all.remove("cert-manager.io/cluster-issuer");
    all
}

/// Paths of what differs; lists are one field.
fn fields(path: &str, value: &Value, plain: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(below) => {
            for (name, value) in below {
                fields(&format!("{path}.{name}"), value, &plain[name], found);
            }
        }
        value if value != plain => {
            found.insert(path.to_owned());
        }
        _ => {}
    }
}

#[test]
fn the_documentation_names_every_key_that_is_written_and_no_other() {
    let page = include_str!("../../../../../docs/ingress.md");
    let (_, section) = page.split_once("## What the operator writes\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(documented, written());
    for controller in IngressController::ALL {
        let name = format!("| `{}` |", text(controller));
        assert!(page.contains(&name), "{name} has no row");
    }
}
