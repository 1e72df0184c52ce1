//! Who reaches whom: the policies that are built, judged as Kubernetes documents them, against a table of what must flow and
//! what must not. The clusters of the tests do not enforce policies, so this is where they are tested.
//!
//! A pod that no policy selects for a direction is open there. One that is selected is open to what some rule of some policy
//! allows. A flow needs both ends. What comes from the pod's own node is let in whatever policies say.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

use super::super::{Children, build};
use super::*;
use crate::fixtures::{self, NAMESPACE};
use chatcluster_chat_api::cluster::ChatCluster;

type Labels = BTreeMap<String, String>;

/// Somebody at one end.
#[derive(Clone, Debug)]
enum Party {
    Pod {
        namespace: String,
        labels: Labels,
    },
    /// The node of the pod at the other end.
    Node,
    /// Somewhere else in the world.
    Outside,
}

/// Both directions are judged by it.
struct Policies(Vec<NetworkPolicy>);

impl Policies {
    fn allow(&self, from: &Party, to: &Party, port: &NetworkPolicyPort) -> bool {
        self.lets_out(from, to, port) && self.lets_in(from, to, port)
    }

    fn lets_in(&self, from: &Party, to: &Party, port: &NetworkPolicyPort) -> bool {
        let rules: Vec<_> = self
            .of(to, "Ingress")
            .map(|spec| spec.ingress.clone().unwrap_or_default())
            .collect();
        let allows = |rule: &NetworkPolicyIngressRule| {
            matches_any(rule.from.as_deref(), from) && has_port(rule.ports.as_deref(), port)
        };
        rules.is_empty() || matches!(from, Party::Node) || rules.iter().flatten().any(allows)
    }

    fn lets_out(&self, from: &Party, to: &Party, port: &NetworkPolicyPort) -> bool {
        let rules: Vec<_> = self
            .of(from, "Egress")
            .map(|spec| spec.egress.clone().unwrap_or_default())
            .collect();
        let allows = |rule: &NetworkPolicyEgressRule| {
            matches_any(rule.to.as_deref(), to) && has_port(rule.ports.as_deref(), port)
        };
        rules.is_empty() || matches!(to, Party::Node) || rules.iter().flatten().any(allows)
    }

    /// Those that select this party for this direction. All are in one namespace.
    fn of(&self, party: &Party, direction: &str) -> impl Iterator<Item = &NetworkPolicySpec> {
        let selects = move |spec: &&NetworkPolicySpec| match party {
            Party::Pod { namespace, labels } => {
                let selector = spec
                    .pod_selector
                    .as_ref()
                    .expect("a policy of certain pods");
                namespace == NAMESPACE && selected(selector, labels)
            }
            Party::Node | Party::Outside => false,
        };
        let has_type = move |spec: &&NetworkPolicySpec| {
            let types = spec.policy_types.as_ref().expect("types are stated");
            types.iter().any(|one| one == direction)
        };
        let specs = self.0.iter().filter_map(|policy| policy.spec.as_ref());
        specs.filter(selects).filter(has_type)
    }
}

/// Without peers a rule is for everybody; with an empty list, too.
fn matches_any(peers: Option<&[NetworkPolicyPeer]>, party: &Party) -> bool {
    let peers = peers.unwrap_or_default();
    peers.is_empty() || peers.iter().any(|peer| matches(peer, party))
}

fn matches(peer: &NetworkPolicyPeer, party: &Party) -> bool {
    assert!(peer.ip_block.is_none(), "blocks are not judged here yet");
    let Party::Pod { namespace, labels } = party else {
        return false;
    };
    let name = names::labels(&[("kubernetes.io/metadata.name", namespace)]);
    let is_near = match &peer.namespace_selector {
        Some(selector) => selected(selector, &name),
        None => namespace == NAMESPACE,
    };
    let is_it = |selector: &LabelSelector| selected(selector, labels);
    is_near && peer.pod_selector.as_ref().is_none_or(is_it)
}

fn selected(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "not judged here yet");
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
}

fn has_port(ports: Option<&[NetworkPolicyPort]>, port: &NetworkPolicyPort) -> bool {
    let ports = ports.unwrap_or_default();
    ports.is_empty() || ports.contains(port)
}

/// A ChatCluster's world, and who is in it.
struct Town {
    policies: Policies,
    server: Party,
    nats: Option<Party>,
}

fn town(cluster: &ChatCluster) -> Town {
    let Children {
        network_policy,
        nats,
        stateful_set,
        ..
    } = build(&fixtures::validate(cluster).unwrap()).unwrap();
    let policies = network_policy
        .into_iter()
        .chain(nats.iter().filter_map(|nats| nats.network_policy.clone()));
    Town {
        policies: Policies(policies.collect()),
        server: of_template(stateful_set.spec.unwrap().template),
        nats: nats.map(|nats| of_template(nats.stateful_set.spec.unwrap().template)),
    }
}

fn of_template(template: PodTemplateSpec) -> Party {
    pod(NAMESPACE, template.metadata.unwrap().labels.unwrap())
}

fn pod(namespace: &str, labels: Labels) -> Party {
    Party::Pod {
        namespace: namespace.to_owned(),
        labels,
    }
}

fn named(namespace: &str, name: &str) -> Party {
    pod(
        namespace,
        names::labels(&[("app.kubernetes.io/name", name)]),
    )
}

/// The same pod as another ChatCluster's, or in another namespace.
fn relabelled(party: &Party, instance: &str, namespace: &str) -> Party {
    let Party::Pod { labels, .. } = party else {
        unreachable!("a pod")
    };
    let mut labels = labels.clone();
    labels.insert(names::INSTANCE.to_owned(), instance.to_owned());
    pod(namespace, labels)
}

struct Flow<'a>(&'a str, &'a Party, &'a Party, i32, bool);

fn judge(policies: &Policies, flows: &[Flow<'_>]) {
    for Flow(what, from, to, number, expected) in flows {
        let allowed = policies.allow(from, to, &tcp(*number));
        assert_eq!(allowed, *expected, "{what}: port {number}");
    }
}

const OPERATOR_NAMESPACE: &str = "chatcluster-system";

fn servers_are_reached(town: &Town, instance: &str) {
    let Town {
        policies, server, ..
    } = town;
    let (outside, node) = (&Party::Outside, &Party::Node);
    let ingress = &named("ingress", "nginx");
    let operator = &named(OPERATOR_NAMESPACE, names::MANAGER);
    let impostor = &named(NAMESPACE, names::MANAGER);
    let neighbour = &named(OPERATOR_NAMESPACE, "something-else");
    let other = &relabelled(server, "other", NAMESPACE);
    let namesake = &relabelled(server, instance, "elsewhere");
    let (http, relay, admin) = (ports::CLIENTS, ports::RELAY, ports::ADMIN);
    let flow = |what, from, port, allowed| Flow(what, from, server, port, allowed);
    judge(
        policies,
        &[
            flow("a client", outside, http, true),
            flow("an ingress controller", ingress, http, true),
            flow("a client at the relay", outside, relay, false),
            flow("a client at the admin port", outside, admin, false),
            flow("an ingress controller there", ingress, admin, false),
            flow("a peer", server, relay, true),
            flow("a peer at the admin port", server, admin, false),
            flow("a server of another cluster", other, relay, false),
            flow("a namesake elsewhere", namesake, relay, false),
            flow("the operator", operator, admin, true),
            flow("the operator at the relay", operator, relay, false),
            flow("one that calls itself operator", impostor, admin, false),
            flow("a neighbour of the operator", neighbour, admin, false),
            flow("probes", node, admin, true),
        ],
    );
}

#[test]
fn backends_are_let_in_where_they_are_asked_for() {
    let (with, without) = (town(&fixtures::full()), town(&fixtures::minimal()));
    let (near, far) = (&named(NAMESPACE, "shop"), &named("elsewhere", "shop"));
    let outside = &Party::Outside;
    let flow = |what, from, to, allowed| Flow(what, from, to, ports::API, allowed);
    judge(
        &with.policies,
        &[
            flow("a backend beside it", near, &with.server, true),
            flow("one in another namespace", far, &with.server, true),
            flow("the world", outside, &with.server, false),
        ],
    );
    judge(
        &without.policies,
        &[flow("without an API", near, &without.server, false)],
    );
}

fn servers_reach(town: &Town) {
    let Town {
        policies, server, ..
    } = town;
    let outside = &Party::Outside;
    let other = &relabelled(server, "other", NAMESPACE);
    let dns = &named("kube-system", "coredns");
    let flow = |what, to, port, allowed| Flow(what, server, to, port, allowed);
    judge(
        policies,
        &[
            flow("a server of another cluster", other, ports::RELAY, false),
            flow("names, by TCP", dns, DNS, true),
            flow("the web", outside, 443, false),
            flow("the API server", outside, 6443, false),
        ],
    );
    assert!(policies.allow(server, dns, &port("UDP", DNS)), "names");
    assert!(
        !policies.allow(server, dns, &port("UDP", 123)),
        "something else by UDP"
    );
}

#[test]
fn servers_are_reached_by_who_needs_them_and_reach_what_they_need() {
    for (cluster, instance) in [(fixtures::minimal(), "chat"), (fixtures::full(), "support")] {
        let town = town(&cluster);
        servers_are_reached(&town, instance);
        servers_reach(&town);
    }
}

#[test]
fn a_nats_of_the_users_own_is_reached_at_the_ports_of_its_addresses() {
    let Town {
        policies, server, ..
    } = &town(&fixtures::full());
    let (near, outside) = (&named("messaging", "nats"), &Party::Outside);
    judge(
        policies,
        &[
            Flow("the first", server, outside, 4222, true),
            Flow("the second", server, near, 4223, true),
            Flow("its monitor", server, near, 8222, false),
        ],
    );
}

#[test]
fn the_nats_that_the_operator_runs_is_its_servers_alone() {
    let Town {
        policies,
        server,
        nats,
    } = &town(&fixtures::minimal());
    let nats = nats.as_ref().unwrap();
    let outside = &Party::Outside;
    let node = &Party::Node;
    let other = &relabelled(server, "other", NAMESPACE);
    let namesake = &relabelled(server, "chat", "elsewhere");
    let app = &named(NAMESPACE, "shop");
    let operator = &named(OPERATOR_NAMESPACE, names::MANAGER);
    let other_nats = &relabelled(nats, "other", NAMESPACE);
    let dns = &named("kube-system", "coredns");
    let (clients, monitor) = (ports::NATS, ports::MONITOR);
    judge(
        policies,
        &[
            Flow("a server", server, nats, clients, true),
            Flow("a server at the monitor", server, nats, monitor, false),
            Flow("probes", node, nats, monitor, true),
            Flow("a server of another cluster", other, nats, clients, false),
            Flow("a namesake elsewhere", namesake, nats, clients, false),
            Flow(
                "a server to another's NATS",
                server,
                other_nats,
                clients,
                false,
            ),
            Flow(
                "a server to a NATS outside",
                server,
                outside,
                clients,
                false,
            ),
            Flow("an application beside it", app, nats, clients, false),
            Flow("the world", outside, nats, clients, false),
            Flow("the operator", operator, nats, monitor, false),
            Flow("NATS to a server", nats, server, ports::CLIENTS, false),
            Flow("NATS to the world", nats, outside, 443, false),
            Flow("NATS for names", nats, dns, DNS, false),
        ],
    );
}

#[test]
fn without_policies_everything_flows() {
    let mut cluster = fixtures::minimal();
    cluster.spec.network_policy = Presence::Disabled;
    let town = town(&cluster);
    assert!(town.policies.0.is_empty());
    let nats = town.nats.unwrap();
    assert!(
        town.policies
            .allow(&Party::Outside, &nats, &tcp(ports::MONITOR))
    );
}
