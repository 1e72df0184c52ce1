//! The Services: one that gives pods names, one that sends clients to those that accept them, and one for backends.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::controller::validate::Validated;
use crate::names::{self, ports};

/// Names of pods, also of those that are not ready: they are drained, probed and relayed to by others.
pub(super) fn headless(cluster: &Validated) -> Service {
    Service {
        metadata: meta(cluster, cluster.names.headless()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(cluster.names.selector()),
            ports: Some(vec![
                port(ports::CLIENTS_NAME, ports::CLIENTS, ports::CLIENTS_NAME),
                port(ports::RELAY_NAME, ports::RELAY, ports::RELAY_NAME),
                port(ports::ADMIN_NAME, ports::ADMIN, ports::ADMIN_NAME),
            ]),
            ..Default::default()
        }),
        status: None,
    }
}

/// Where new clients go. A pod that is going leaves it by its label and stays ready: polls, relays and probes still reach
/// it.
pub(super) fn client(cluster: &Validated, annotations: BTreeMap<String, String>) -> Service {
    let mut metadata = meta(cluster, cluster.names.own());
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(accepting(cluster)),
            ports: Some(vec![port(
                ports::CLIENTS_NAME,
                ports::SERVICE,
                ports::CLIENTS_NAME,
            )]),
            ..Default::default()
        }),
        status: None,
    }
}

/// Where backends go. As new clients they are not sent to a pod that is going.
pub(super) fn api(cluster: &Validated) -> Option<Service> {
    cluster.has_api.then(|| Service {
        metadata: meta(cluster, cluster.names.api()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(accepting(cluster)),
            ports: Some(vec![port(ports::API_NAME, ports::API, ports::API_NAME)]),
            ..Default::default()
        }),
        status: None,
    })
}

/// Finds the pods that are not going.
fn accepting(cluster: &Validated) -> BTreeMap<String, String> {
    let mut selector = cluster.names.selector();
    selector.extend(names::labels(&[(names::ACCEPTING, "true")]));
    selector
}

pub(super) fn port(name: &str, port: i32, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..Default::default()
    }
}
