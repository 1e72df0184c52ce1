//! The last step: what is true now, and writing it.
//!
//! [`build`] is pure: from what was read and done to a status. It is called after success and after failure; what could not
//! be read makes a condition `Unknown`, never what it was. [`write()`] sends it only if it differs, by server-side apply on
//! the subresource, so that conditions of others stay.

mod conditions;
mod nats;
pub(crate) mod pods;
mod statements;

use std::collections::BTreeMap;

use chatcluster_chat_api::cluster::{
    ChatCluster, ChatClusterStatus, Endpoints, RolloutStatus, SecureCookie,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::build::ingress::Entrance;
use super::observe::{Apart, Unloaded};
use super::rollout::{Plan, Step};
use super::servers::Drain;
use super::validate;
use crate::metrics::{Metrics, Verb};
use crate::names::{self, MANAGER};

/// What was read and done, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Something was read at all; else nothing below means anything.
    pub(crate) is_known: bool,
    pub(crate) stateful_set: Option<StatefulSet>,
    /// What leads clients in.
    pub(crate) entrance: Entrance,
    pub(crate) pods: Vec<Pod>,
    /// NATS, if the operator runs it.
    pub(crate) nats: Option<ObservedNats>,
    /// What servers say of their clients, by the name of their pod.
    pub(crate) drains: BTreeMap<String, Drain>,
    /// The rollout's last step.
    pub(crate) plan: Option<Plan>,
    /// Pods that said why they are not joined through NATS.
    pub(crate) apart: Vec<Apart>,
    /// What is waited for before the ChatCluster is deleted.
    pub(crate) leaving: Option<String>,
    /// Pods that have not loaded the newest configuration, or cannot use a file.
    pub(crate) unloaded: Vec<Unloaded>,
    /// What went wrong: reason and message.
    pub(crate) failure: Option<(&'static str, String)>,
}

/// The nats-server that the operator runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedNats {
    pub(crate) stateful_set: Option<StatefulSet>,
    pub(crate) pods: Vec<Pod>,
}

impl Observed {
    /// Pods on which an earlier configuration counts.
    fn behind(&self) -> Vec<String> {
        let behind = self.unloaded.iter().filter(|one| one.is_behind);
        behind.map(|one| one.pod.clone()).collect()
    }

    /// A pod that cannot use what it sees, and why.
    fn refused(&self) -> Option<(&str, &str)> {
        let mut refused = self.unloaded.iter();
        refused.find_map(|one| Some((one.pod.as_str(), one.problem.as_deref()?)))
    }
}

/// The status cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status")]
pub(crate) struct Error(#[from] Box<kube::Error>);

/// What is true now. `now` becomes the time of transitions.
pub(crate) fn build(
    cluster: &ChatCluster,
    observed: &Observed,
    settings: &validate::Settings,
    now: Timestamp,
) -> ChatClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let statements = statements::all(cluster, observed);
    let generation = cluster.metadata.generation;
    let conditions = conditions::merge(&before.conditions, statements, generation, now);
    if !observed.is_known {
        return ChatClusterStatus {
            observed_generation: generation,
            conditions,
            ..before
        };
    }
    let selector = names::query(&validate::names(cluster).selector());
    let set = observed
        .stateful_set
        .as_ref()
        .and_then(|set| set.status.as_ref());
    ChatClusterStatus {
        observed_generation: generation,
        replicas: Some(set.map_or(0, |set| set.replicas)),
        ready_replicas: Some(set.and_then(|set| set.ready_replicas).unwrap_or(0)),
        updated_replicas: Some(set.and_then(|set| set.updated_replicas).unwrap_or(0)),
        selector: Some(selector),
        current_revision: set.and_then(|set| set.current_revision.clone()),
        update_revision: set.and_then(|set| set.update_revision.clone()),
        image: Some(validate::image(cluster, settings)),
        connections: connections(observed),
        rollout: rollout(observed),
        endpoints: Some(Endpoints {
            url: Some(url(cluster, &observed.entrance)),
            api_url: cluster
                .spec
                .api
                .as_ref()
                .map(|_| validate::names(cluster).api_url()),
        }),
        conditions,
    }
}

/// All clients, rounded: a status is not a metric, and is written only when it says something new.
fn connections(observed: &Observed) -> Option<i64> {
    let sessions = observed.drains.values().map(|drain| drain.sessions);
    (!observed.drains.is_empty()).then(|| rounded(sessions.sum()))
}

/// To two digits.
fn rounded(count: usize) -> i64 {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let unit = 10_i64.pow(count.checked_ilog10().unwrap_or(0).saturating_sub(1));
    count / unit * unit
}

/// What is under way, if anything is.
fn rollout(observed: &Observed) -> Option<RolloutStatus> {
    let plan = observed.plan.as_ref();
    let plan = plan.filter(|plan| plan.step != Step::Done)?;
    let draining = observed
        .drains
        .values()
        .filter(|drain| drain.draining && !drain.done);
    Some(RolloutStatus {
        reason: Some(plan.reason.as_str().to_owned()),
        message: Some(plan.message.clone()),
        remaining_connections: draining
            .map(|drain| drain.sessions)
            .reduce(|all, more| all + more)
            .map(rounded),
    })
}

/// Where clients connect.
fn url(cluster: &ChatCluster, entrance: &Entrance) -> String {
    let ingress = &cluster.spec.ingress;
    let Some(host) = &ingress.host else {
        let own = || {
            format!(
                "{}.{}.svc",
                cluster.name_any(),
                cluster.namespace().unwrap_or_default()
            )
        };
        return format!("http://{}", entrance.balancer().unwrap_or_else(own));
    };
    let is_secure =
        ingress.tls_secret_ref.is_some() || ingress.affinity.secure == SecureCookie::Always;
    format!("{}://{host}", if is_secure { "https" } else { "http" })
}

/// Writes it, if it says something new.
pub(crate) async fn write(
    client: &Client,
    cluster: &ChatCluster,
    status: &ChatClusterStatus,
    metrics: &Metrics,
) -> Result<bool, Error> {
    if cluster.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let own = ChatClusterStatus {
        conditions: conditions::own(&status.conditions),
        ..status.clone()
    };
    let patch = json!({
        "apiVersion": ChatCluster::api_version(&()),
        "kind": ChatCluster::kind(&()),
        // With the uid, so that a ChatCluster that was made again under this name is not told about its predecessor.
        "metadata": { "name": cluster.name_any(), "uid": cluster.uid() },
        "status": own,
    });
    let api: Api<ChatCluster> =
        Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
    let parameters = PatchParams::apply(MANAGER).force();
    match api
        .patch_status(&cluster.name_any(), &parameters, &Patch::Apply(&patch))
        .await
    {
        // Deleted meanwhile: nobody is left to be told.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
        other => other.map_err(Box::new)?,
    };
    metrics.wrote(Verb::Apply, "ChatCluster/status");
    Ok(true)
}

#[cfg(test)]
mod tests;
