//! The end of a ChatCluster: whether its clients are let go first (`spec.deletionPolicy`, semantics 30).
//!
//! [`hold`] keeps a finalizer on those that ask for it, and on no others. [`attend`] is the look at one that is being deleted:
//! [`next`], pure, says who is told and what is waited for; nothing is remembered. Whatever cannot be seen or told is waited
//! for until the deadline and no longer. After the finalizer everything goes by its owner references.

use std::collections::BTreeMap;

use chatcluster_chat_api::cluster::{ChatCluster, DeletionPolicy};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::rollout::{Known, Plan, Reason, Server, Step, servers_of};
use super::servers::Servers;
use super::status::{self, Observed};
use super::{Context, DRAINING, Error as LookError, chain, dereference, observe, ours, validate};
use crate::metrics::{Metrics, Verb};
use crate::names::{FINALIZER, MANAGER};

/// The finalizer cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the finalizer {FINALIZER}")]
pub(crate) struct Error {
    verb: &'static str,
    source: Box<kube::Error>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// These are told to let their clients go, and whoever has clients is waited for.
    Wait { tell: Vec<String>, message: String },
    /// The finalizer goes.
    Release(Release),
}

/// Why nothing is waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Drained,
    NotAsked,
    Paused,
    NamespaceTerminating,
    DeadlineExceeded,
}

impl Release {
    const fn reason(self) -> &'static str {
        match self {
            Self::Drained => "Drained",
            Self::NotAsked | Self::Paused | Self::NamespaceTerminating => "DrainSkipped",
            Self::DeadlineExceeded => "DrainDeadlineExceeded",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Drained => "no server has clients; everything is deleted",
            Self::NotAsked => "everything is deleted at once, as `spec.deletionPolicy` asks",
            Self::Paused => {
                "everything is deleted at once: while `spec.reconciliation` is 'Paused' servers are told nothing"
            }
            Self::NamespaceTerminating => "everything is deleted at once, with its namespace",
            Self::DeadlineExceeded => {
                "servers may still have clients at the end of `spec.drain.deadlineSeconds`; everything is deleted"
            }
        }
    }
}

/// Puts the finalizer on, or takes it off.
pub(super) async fn hold(
    client: &Client,
    cluster: &ChatCluster,
    metrics: &Metrics,
) -> Result<(), Error> {
    let is_wanted = cluster.spec.deletion_policy == DeletionPolicy::Drain;
    if is_held(cluster) == is_wanted {
        return Ok(());
    }
    set(client, cluster, is_wanted, metrics).await
}

/// The look at one that is being deleted.
pub(super) async fn attend(cluster: &ChatCluster, context: &Context) -> Result<Action, LookError> {
    if !is_held(cluster) {
        // Children go by their owner references, also when no operator runs.
        return Ok(Action::await_change());
    }
    let mut observed = Observed::default();
    let (next, steps) = match release_unseen(cluster, Timestamp::now()) {
        Some(release) => (Ok(Next::Release(release)), Vec::new()),
        None => drain(cluster, context, &mut observed).await,
    };
    match &next {
        Ok(Next::Wait { message, .. }) => observed.leaving = Some(message.clone()),
        Ok(Next::Release(release)) => return let_go(cluster, context, *release).await,
        Err(error) => observed.failure = Some((error.reason(), chain(error))),
    }
    let status = status::build(cluster, &observed, &context.settings, Timestamp::now());
    let told = status::write(&context.client, cluster, &status, &context.metrics).await;
    context.events.tell(cluster, &status, &[], &steps).await;
    next?;
    told?;
    Ok(Action::requeue(DRAINING))
}

/// Nothing is waited for any more. No status is written: it would be of something that is gone in a moment.
async fn let_go(
    cluster: &ChatCluster,
    context: &Context,
    release: Release,
) -> Result<Action, LookError> {
    let Context {
        client,
        events,
        metrics,
        ..
    } = context;
    let is_warning = release == Release::DeadlineExceeded;
    events
        .tell_end(cluster, is_warning, release.reason(), release.message())
        .await;
    set(client, cluster, false, metrics).await?;
    Ok(Action::await_change())
}

/// Looks, tells servers, and looks at what they say to it.
async fn drain(
    cluster: &ChatCluster,
    context: &Context,
    observed: &mut Observed,
) -> (Result<Next, LookError>, Vec<Plan>) {
    let names = validate::names(cluster);
    if is_terminating(&context.client, &names.namespace).await {
        return (Ok(Next::Release(Release::NamespaceTerminating)), Vec::new());
    }
    let found = match dereference::dereference(&context.client, cluster, &names).await {
        Ok(found) => found,
        Err(error) => return (Err(error.into()), Vec::new()),
    };
    observed.is_known = true;
    observed.stateful_set = ours(cluster, found.live.stateful_set);
    observed.pods = found.pods;
    let servers = &*context.servers;
    let mut known = Known {
        drains: observe::drains(&observed.pods, servers).await,
        nodes: BTreeMap::new(),
    };
    let now = Timestamp::now();
    let look = |known: &Known| {
        let set = observed.stateful_set.as_ref();
        let pods = set.map(|set| servers_of(set, &observed.pods, known, now));
        next(&pods.unwrap_or_default(), deadline(cluster))
    };
    let mut after = look(&known);
    let mut steps = Vec::new();
    if let Next::Wait { tell, .. } = &after {
        steps = self::tell(tell, &observed.pods, servers, &mut known).await;
        after = look(&known);
    }
    observed.drains = known.drains;
    (Ok(after), steps)
}

/// Tells servers to let their clients go. Who cannot be told is told at the next look.
async fn tell(
    names: &[String],
    pods: &[Pod],
    servers: &dyn Servers,
    known: &mut Known,
) -> Vec<Plan> {
    let mut steps = Vec::new();
    for name in names {
        let pod = pods.iter().find(|pod| pod.name_any() == *name);
        let Some(address) = pod.and_then(observe::address) else {
            continue;
        };
        let Ok(drain) = servers.drain(address).await else {
            continue;
        };
        known.drains.insert(name.clone(), drain);
        steps.push(Plan {
            step: Step::Drain(name.clone()),
            reason: Reason::PodDraining,
            message: format!(
                "pod {name} is told to let its clients go: the ChatCluster is deleted"
            ),
            until: None,
        });
    }
    steps
}

/// What is not waited for, whatever there is to see.
fn release_unseen(cluster: &ChatCluster, now: Timestamp) -> Option<Release> {
    if cluster.spec.deletion_policy == DeletionPolicy::Immediate {
        Some(Release::NotAsked)
    } else if validate::is_paused(cluster) {
        Some(Release::Paused)
    } else if deadline(cluster).is_none_or(|by| now >= by) {
        Some(Release::DeadlineExceeded)
    } else {
        None
    }
}

/// All at once: nobody is to be sent from one to the next.
fn next(servers: &BTreeMap<String, Server>, by: Option<Timestamp>) -> Next {
    let is_serving = |server: &Server| matches!(server, Server::Serving(_) | Server::Silent);
    let tell = servers.iter().filter(|(_, server)| is_serving(server));
    let left = servers.iter().filter_map(|(name, server)| match server {
        Server::Absent | Server::Drained => None,
        Server::Silent => Some(format!("{name} (does not answer)")),
        Server::Serving(left) | Server::Draining(left) => Some(format!("{name} ({left} left)")),
    });
    let left: Vec<String> = left.collect();
    if left.is_empty() {
        return Next::Release(Release::Drained);
    }
    let by = by.map(|by| format!(", until {by} at the latest"));
    Next::Wait {
        tell: tell.map(|(name, _)| name.clone()).collect(),
        message: format!(
            "the ChatCluster is deleted when its servers have let their clients go{}: {}",
            by.unwrap_or_default(),
            left.join(", ")
        ),
    }
}

/// When it is over whatever servers say: they end their own drains before.
fn deadline(cluster: &ChatCluster) -> Option<Timestamp> {
    let since = cluster.metadata.deletion_timestamp.as_ref()?.0;
    let seconds = i64::from(cluster.spec.drain.deadline_seconds) + validate::AFTER_DRAIN_SECONDS;
    Timestamp::from_second(since.as_second() + seconds).ok()
}

fn is_held(cluster: &ChatCluster) -> bool {
    cluster.finalizers().iter().any(|one| one == FINALIZER)
}

/// Who may not look at namespaces does not know: then there is the deadline.
async fn is_terminating(client: &Client, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(client.clone());
    match api.get_opt(namespace).await {
        Ok(found) => found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::debug!(%error, namespace, "the namespace cannot be read");
            false
        }
    }
}

/// With the resource version: the list is replaced as a whole, and others may have written theirs.
async fn set(
    client: &Client,
    cluster: &ChatCluster,
    is_wanted: bool,
    metrics: &Metrics,
) -> Result<(), Error> {
    let mut finalizers = cluster.finalizers().to_vec();
    finalizers.retain(|one| one != FINALIZER);
    if is_wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let version = cluster.resource_version();
    let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..Default::default()
    };
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<ChatCluster> = Api::namespaced(client.clone(), &namespace);
    let verb = if is_wanted { "set" } else { "remove" };
    match api
        .patch(&cluster.name_any(), &parameters, &Patch::Merge(patch))
        .await
    {
        // Somebody else took it off, and it is gone.
        Err(kube::Error::Api(status)) if !is_wanted && status.is_not_found() => Ok(()),
        Err(source) => Err(Error {
            verb,
            source: Box::new(source),
        }),
        Ok(_) => {
            metrics.wrote(Verb::Apply, "ChatCluster/finalizers");
            Ok(())
        }
    }
}
