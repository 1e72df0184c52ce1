//! Each condition as one function of what was observed. A statement is made only if it is known to be true.

use chatcluster_chat_api::cluster::ChatCluster;
use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::{Observed, nats, pods};
use crate::controller::build::ingress;
use crate::controller::rollout::{Plan, Step};
use crate::controller::validate::{self, is_paused, wanted_replicas};

/// The conditions that the operator writes.
pub(super) const TYPES: [&str; 9] = [
    "Ready",
    "Available",
    "Progressing",
    "Draining",
    "NatsConnected",
    "IngressReady",
    "ConnectionsCapped",
    "Degraded",
    "ReconciliationPaused",
];

/// Pods that a message names; more are counted.
const NAMED: usize = 3;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: &'static str,
    pub(super) status: Status,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a function says: status, reason, message.
type Said = (Status, &'static str, String);

/// All of them, in the order of [`TYPES`].
pub(super) fn all(cluster: &ChatCluster, observed: &Observed) -> Vec<Statement> {
    let known = |say: fn(&View<'_>) -> Said| {
        if observed.is_known {
            say(&View {
                cluster,
                observed,
                wanted: wanted_replicas(cluster),
            })
        } else {
            (
                Status::Unknown,
                "NotObserved",
                "the operator could not read what there is".to_owned(),
            )
        }
    };
    let degraded = match &observed.failure {
        Some((reason, message)) => (Status::True, *reason, message.clone()),
        None => known(degraded),
    };
    let said = [
        known(ready),
        known(available),
        known(progressing),
        known(draining),
        known(nats_connected),
        known(ingress_ready),
        connections_capped(cluster),
        degraded,
        paused(cluster),
    ];
    TYPES
        .into_iter()
        .zip(said)
        .map(|(kind, (status, reason, message))| Statement {
            kind,
            status,
            reason,
            message,
        })
        .collect()
}

struct View<'a> {
    cluster: &'a ChatCluster,
    observed: &'a Observed,
    wanted: i32,
}

impl View<'_> {
    fn set(&self) -> StatefulSetStatus {
        self.observed
            .stateful_set
            .as_ref()
            .and_then(|set| set.status.clone())
            .unwrap_or_default()
    }

    fn ready_pods(&self) -> i32 {
        count(self.observed.pods.iter().filter(|pod| pods::is_ready(pod)))
    }

    /// What the rollout does, or waits for.
    fn under_way(&self) -> Option<&Plan> {
        let plan = self.observed.plan.as_ref();
        plan.filter(|plan| plan.step != Step::Done)
    }

    /// What is not as it shall be with the NATS that the operator runs.
    fn nats_obstacle(&self) -> Option<String> {
        self.observed.nats.as_ref().and_then(nats::obstacle)
    }

    /// The StatefulSet controller has seen the last change, and brought it about, the rollout has nothing more to do, and
    /// servers have loaded their configuration.
    fn is_settled(&self) -> bool {
        self.has_pods() && self.observed.behind().is_empty()
    }

    fn has_pods(&self) -> bool {
        let Some(set) = &self.observed.stateful_set else {
            return false;
        };
        let status = self.set();
        self.under_way().is_none()
            && status.observed_generation.is_some()
            && status.observed_generation == set.metadata.generation
            && status.replicas == self.wanted
            && status.updated_replicas.unwrap_or(0) == self.wanted
            && status.ready_replicas.unwrap_or(0) == self.wanted
    }
}

fn ready(view: &View<'_>) -> Said {
    if let Some((reason, _)) = view.observed.failure {
        return (
            Status::False,
            reason,
            "see the condition Degraded".to_owned(),
        );
    }
    if let Some(message) = &view.observed.leaving {
        return (Status::False, "Deleting", message.clone());
    }
    if is_paused(view.cluster) {
        let message = "reconciliation is paused: what runs is not compared with the spec";
        return (Status::Unknown, "ReconciliationPaused", message.to_owned());
    }
    if let Some(obstacle) = view.nats_obstacle() {
        return (Status::False, "NatsNotReady", obstacle);
    }
    if !view.has_pods() {
        let said = progress(view);
        return (Status::False, "PodsNotReady", said);
    }
    if !view.is_settled() {
        return (Status::False, "ConfigNotLoaded", loading(view));
    }
    match view.wanted {
        0 => (
            Status::True,
            "Suspended",
            "no server runs, as asked by `spec.state`".to_owned(),
        ),
        wanted => (
            Status::True,
            "AllPodsReady",
            format!("{wanted} of {wanted} pods are ready, at the newest revision"),
        ),
    }
}

fn available(view: &View<'_>) -> Said {
    match view.ready_pods() {
        0 => (
            Status::False,
            "NoPodReady",
            "no pod takes clients".to_owned(),
        ),
        ready => (
            Status::True,
            "PodsReady",
            format!("pods that take clients: {ready}"),
        ),
    }
}

fn progressing(view: &View<'_>) -> Said {
    if let Some(message) = &view.observed.leaving {
        return (Status::True, "Deleting", message.clone());
    }
    if view.observed.stateful_set.is_none() {
        return (
            Status::False,
            "NotCreated",
            "there is no StatefulSet".to_owned(),
        );
    }
    if view.is_settled() {
        return match view.nats_obstacle() {
            Some(obstacle) => (Status::True, "NatsNotReady", obstacle),
            None => (
                Status::False,
                "Settled",
                "no pod is being started, replaced or ended, and all have loaded their configuration"
                    .to_owned(),
            ),
        };
    }
    if view.has_pods() {
        return (Status::True, "ConfigLoading", loading(view));
    }
    let status = view.set();
    let reason = if let Some(plan) = view.under_way() {
        plan.reason.as_str()
    } else if status.replicas != view.wanted {
        "Scaling"
    } else if status.updated_replicas.unwrap_or(0) < view.wanted {
        "RollingOut"
    } else {
        "PodsStarting"
    };
    (Status::True, reason, progress(view))
}

fn progress(view: &View<'_>) -> String {
    let status = view.set();
    let under_way = view
        .under_way()
        .map(|plan| format!("{}; ", plan.message))
        .unwrap_or_default();
    format!(
        "{under_way}pods: {} wanted, {} there, {} of the newest revision, {} ready",
        view.wanted,
        status.replicas,
        status.updated_replicas.unwrap_or(0),
        status.ready_replicas.unwrap_or(0),
    )
}

/// Kubernetes brings a ConfigMap to its pods within a minute or two.
fn loading(view: &View<'_>) -> String {
    let pods = name(view.observed.behind().into_iter());
    format!("pods that have not loaded the newest configuration yet: {pods}")
}

fn draining(view: &View<'_>) -> Said {
    let drain = |pod: &Pod| {
        let drain = view.observed.drains.get(&pod.name_any())?;
        (drain.draining && !drain.done).then_some(drain.sessions)
    };
    let going: Vec<&Pod> = view
        .observed
        .pods
        .iter()
        .filter(|pod| pods::is_leaving(pod) || drain(pod).is_some())
        .collect();
    if going.is_empty() {
        return (
            Status::False,
            "NoPodLeaves",
            "no pod lets its clients go".to_owned(),
        );
    }
    let named = going.iter().map(|pod| match drain(pod) {
        Some(left) => format!("{} ({left} left)", pod.name_any()),
        None => pod.name_any(),
    });
    let message = format!("pods that let their clients go: {}", name(named));
    (Status::True, "PodsLeave", message)
}

/// A server is ready only while it reads the log on NATS, so a ready pod proves the connection.
fn nats_connected(view: &View<'_>) -> Said {
    let apart = &view.observed.apart;
    let obstacle = view.nats_obstacle();
    if let Some(first) = apart.first() {
        let pods = name(apart.iter().map(|apart| apart.pod.clone()));
        let said = format!("{pods}: {}", first.reason);
        return match obstacle {
            Some(obstacle) => (Status::False, "NatsNotReady", format!("{obstacle}; {said}")),
            None => (Status::False, "PodsNotConnected", said),
        };
    }
    match (view.ready_pods(), obstacle) {
        (0, Some(obstacle)) => (Status::False, "NatsNotReady", obstacle),
        (0, None) => (
            Status::Unknown,
            "NoPodAnswers",
            "no pod is ready, and none has said why".to_owned(),
        ),
        (ready, _) => (
            Status::True,
            "PodsConnected",
            format!("pods that read the log: {ready}"),
        ),
    }
}

fn ingress_ready(view: &View<'_>) -> Said {
    let dialect = ingress::dialect(view.cluster.spec.ingress.controller);
    let said = dialect.serving(&view.observed.entrance);
    let status = match said.holds {
        Some(true) => Status::True,
        Some(false) => Status::False,
        None => Status::Unknown,
    };
    (status, said.reason, said.message)
}

/// A warning: each connection that is ended is a client that reconnects.
fn connections_capped(cluster: &ChatCluster) -> Said {
    match ingress::cap(&validate::route(cluster)) {
        Some(cap) => (Status::True, cap.reason, cap.message),
        None => (
            Status::False,
            "NoCapKnown",
            "nothing on the way is known to end a connection that is well".to_owned(),
        ),
    }
}

fn degraded(view: &View<'_>) -> Said {
    let nats = view.observed.nats.iter().flat_map(|nats| &nats.pods);
    let mut all = nats.chain(&view.observed.pods);
    if let Some((reason, message)) = all.find_map(pods::trouble) {
        return (Status::True, reason, message);
    }
    if let Some((pod, problem)) = view.observed.refused() {
        let message = format!("pod {pod} keeps what it had loaded before: {problem}");
        return (Status::True, "ReloadRefused", message);
    }
    let apart = &view.observed.apart;
    if let Some(first) = apart.first()
        && view.ready_pods() == 0
    {
        return (
            Status::True,
            "NatsUnreachable",
            format!("{}: {}", first.pod, first.reason),
        );
    }
    (
        Status::False,
        "AsExpected",
        "nothing is known to be wrong".to_owned(),
    )
}

fn paused(cluster: &ChatCluster) -> Said {
    if is_paused(cluster) {
        let message =
            "the operator writes nothing but this status, as asked by `spec.reconciliation`";
        (Status::True, "Paused", message.to_owned())
    } else {
        (Status::False, "Active", "the operator acts".to_owned())
    }
}

fn name(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<String> = names.take(NAMED).collect();
    let named = named.join(", ");
    if more == 0 {
        named
    } else {
        format!("{named} and {more} more")
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}
