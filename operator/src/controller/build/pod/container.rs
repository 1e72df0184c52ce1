//! The server's container: how it is started, asked how it is, drained.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    Probe, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::volumes;
use crate::controller::validate::Validated;
use crate::names::{self, CONFIG_KEY, PROGRAM, paths, ports};

pub(super) fn server(cluster: &Validated) -> Container {
    let config = format!("{}/{CONFIG_KEY}", paths::CONFIG);
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: Some(cluster.pull_policy.as_str().to_owned()),
        args: Some(words(&["--config", &config])),
        ports: Some(container_ports(cluster)),
        // The image has no shell. The command returns when the drain is done, so SIGTERM comes after it.
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(words(&[PROGRAM, "drain", "--config", &config])),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        // A pod that starts reads the log first, which may take minutes; it is alive all the while.
        startup_probe: Some(probe(ports::ADMIN_NAME, "/livez", 2, 30)),
        // Only a process that answers nothing for a minute is restarted: its clients are lost to it.
        liveness_probe: Some(probe(ports::ADMIN_NAME, "/livez", 10, 6)),
        readiness_probe: Some(probe(ports::ADMIN_NAME, "/readyz", 2, 2)),
        resources: Some(ResourceRequirements {
            requests: Some([("cpu", "100m"), ("memory", "256Mi")].map(quantity).into()),
            ..Default::default()
        }),
        security_context: Some(security_context()),
        volume_mounts: Some(volumes::mounts(cluster)),
        ..Default::default()
    }
}

fn container_ports(cluster: &Validated) -> Vec<ContainerPort> {
    let mut all = vec![
        port(ports::CLIENTS_NAME, ports::CLIENTS),
        port(ports::RELAY_NAME, ports::RELAY),
        port(ports::ADMIN_NAME, ports::ADMIN),
    ];
    if cluster.has_api {
        all.push(port(ports::API_NAME, ports::API));
    }
    all
}

pub(in super::super) fn security_context() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(words(&["ALL"])),
            add: None,
        }),
        ..Default::default()
    }
}

pub(in super::super) fn probe(port: &str, path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Default::default()
    }
}

pub(in super::super) fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    }
}

fn quantity((resource, amount): (&str, &str)) -> (String, Quantity) {
    (resource.to_owned(), Quantity(amount.to_owned()))
}

pub(in super::super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
