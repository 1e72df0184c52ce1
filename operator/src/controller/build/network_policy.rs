//! Who may reach the pods, and whom they may reach. Policies add up: who scrapes metrics is let in by one of the user's
//! own.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{meta, nats, pods};
use crate::controller::validate::{Nats, Validated};
use crate::names::{self, ports};
use chatcluster_chat_api::cluster::Presence;

const DNS: i32 = 53;

pub(super) fn build(cluster: &Validated) -> Option<NetworkPolicy> {
    (cluster.network_policy == Presence::Enabled).then(|| NetworkPolicy {
        metadata: meta(cluster, cluster.names.own()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods(cluster)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress(cluster)),
            egress: Some(egress(cluster)),
        }),
    })
}

/// NATS is the servers' alone, and speaks to nobody by itself. Probes come from the node, which policies let in.
pub(super) fn of_nats(cluster: &Validated) -> Option<NetworkPolicy> {
    (cluster.network_policy == Presence::Enabled).then(|| NetworkPolicy {
        metadata: nats::meta(cluster),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(nats::pods(cluster)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![peers(cluster)]),
                ports: Some(vec![tcp(ports::NATS)]),
            }]),
            egress: Some(Vec::new()),
        }),
    })
}

fn ingress(cluster: &Validated) -> Vec<NetworkPolicyIngressRule> {
    let rule = |from, port| NetworkPolicyIngressRule {
        from,
        ports: Some(vec![tcp(port)]),
    };
    let mut rules = vec![
        // Clients come from any ingress controller, which may be anywhere.
        rule(None, ports::CLIENTS),
        rule(Some(vec![peers(cluster)]), ports::RELAY),
        rule(Some(vec![operator(cluster)]), ports::ADMIN),
    ];
    if cluster.has_api {
        rules.push(rule(Some(vec![any_pod()]), ports::API));
    }
    rules
}

fn egress(cluster: &Validated) -> Vec<NetworkPolicyEgressRule> {
    let dns = ["UDP", "TCP"].map(|protocol| port(protocol, DNS)).to_vec();
    vec![
        NetworkPolicyEgressRule {
            to: None,
            ports: Some(dns),
        },
        to_nats(cluster),
        NetworkPolicyEgressRule {
            to: Some(vec![peers(cluster)]),
            ports: Some(vec![tcp(ports::RELAY)]),
        },
    ]
}

fn to_nats(cluster: &Validated) -> NetworkPolicyEgressRule {
    match &cluster.nats {
        // By port only: a policy knows no names, and what a name of NATS stands for may change.
        Nats::External(numbers) => NetworkPolicyEgressRule {
            to: None,
            ports: Some(numbers.iter().copied().map(tcp).collect()),
        },
        Nats::Managed(_) => NetworkPolicyEgressRule {
            to: Some(vec![NetworkPolicyPeer {
                pod_selector: Some(nats::pods(cluster)),
                ..Default::default()
            }]),
            ports: Some(vec![tcp(ports::NATS)]),
        },
    }
}

fn peers(cluster: &Validated) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(pods(cluster)),
        ..Default::default()
    }
}

/// Of any namespace: backends are applications in Kubernetes, and known by their tokens.
fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..Default::default()
    }
}

fn operator(cluster: &Validated) -> NetworkPolicyPeer {
    let matching = |labels: &[(&str, &str)]| LabelSelector {
        match_labels: Some(names::labels(labels)),
        match_expressions: None,
    };
    NetworkPolicyPeer {
        // Every namespace carries its name as this label.
        namespace_selector: Some(matching(&[(
            "kubernetes.io/metadata.name",
            &cluster.operator_namespace,
        )])),
        pod_selector: Some(matching(&[("app.kubernetes.io/name", names::MANAGER)])),
        ip_block: None,
    }
}

fn tcp(number: i32) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        end_port: None,
    }
}

#[cfg(test)]
mod flows;
