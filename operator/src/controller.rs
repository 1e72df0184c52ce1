//! One look at a ChatCluster, from what was written to what is true.
//!
//! [`look`] is the whole operator on one screen: dereference, validate, build, apply, observe, status. Only dereference,
//! apply, observe and status speak to anybody; validate and build are pure, and so is the planner of rollouts. Each step's type is the next one's only input. It is
//! level-based: why it was called does not matter, and called again it writes nothing.

mod apply;
pub(crate) mod build;
mod deletion;
pub(crate) mod dereference;
mod observe;
pub(crate) mod rollout;
pub(crate) mod servers;
mod status;
pub(crate) mod validate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chatcluster_chat_api::cluster::{ChatCluster, ChatClusterStatus, NatsMode};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt as _};

use crate::backoff::{Backoff, jittered};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::names::ports;
pub(crate) use apply::Change;
use build::ingress::Entrance;
use rollout::{Ground, Known, Plan, Reason, Step};
use servers::Servers;
use status::{Observed, ObservedNats};
pub(crate) use validate::Settings;

/// A look that takes longer is given up: some call hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// When to look again at a cluster that is not ready: what its pods say of themselves is not watched.
const UNREADY: Duration = Duration::from_secs(15);
/// When to look again at a cluster that names Secrets: nobody tells when one is exchanged, and only servers say whether they
/// can use it.
const WITH_SECRETS: Duration = Duration::from_secs(60);
/// When to look again while a server lets its clients go: how far it is is not watched.
const DRAINING: Duration = Duration::from_secs(2);
/// Bytes of the secret that pods share.
const SECRET_BYTES: usize = 32;

/// What all looks share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) backoff: Backoff,
    /// Asks servers about their clients.
    pub(crate) servers: Box<dyn Servers>,
    /// How often a cluster is looked at although nothing was seen to change.
    pub(crate) resync: Duration,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What is there cannot be read.
    #[error("cannot read what there is")]
    Dereference(#[from] dereference::Error),
    /// What was written cannot be built.
    #[error(transparent)]
    Validate(#[from] validate::Error),
    /// The configuration cannot be written as YAML.
    #[error("cannot render the configuration")]
    Build(#[from] serde_yaml::Error),
    /// A child cannot be made what it shall be.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// Its deletion can neither be held nor let go.
    #[error(transparent)]
    Deletion(#[from] deletion::Error),
    /// The ChatCluster cannot be read, or told its status.
    #[error("cannot speak of the ChatCluster")]
    Status(#[from] status::Error),
    /// It took too long.
    #[error("not done within {} seconds", DEADLINE.as_secs())]
    Deadline,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Yes, after a while that grows.
    Backoff,
    /// No, not before something was written.
    AwaitChange,
}

impl Error {
    /// The word for conditions, events and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "ReadFailed",
            Self::Validate(validate::Error::Invalid(_)) => "InvalidSpec",
            Self::Validate(validate::Error::SecretMissing(_)) => "SecretMissing",
            Self::Build(_) => "RenderFailed",
            Self::Apply(apply::Error::Foreign { .. }) => "ForeignObject",
            Self::Apply(apply::Error::Leaving { .. }) => "ChildLeaving",
            Self::Apply(apply::Error::Conflict { .. }) => "Conflict",
            Self::Apply(apply::Error::Refused { .. }) => "ApplyRefused",
            Self::Apply(apply::Error::Write { .. }) => "ApplyFailed",
            Self::Apply(apply::Error::Compare { .. }) => "CompareFailed",
            Self::Deletion(_) => "FinalizerFailed",
            Self::Status(_) => "StatusFailed",
            Self::Deadline => "DeadlineExceeded",
        }
    }

    /// Whether trying again can help. Secrets, and objects of others, are not watched: whether they came or went is only
    /// seen by looking.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Validate(validate::Error::Invalid(_)) | Self::Build(_) => Retry::AwaitChange,
            _ => Retry::Backoff,
        }
    }
}

/// An error with its causes in one line; the API server's own words are the last.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let boxed = cause.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
        if let Some(kube::Error::Api(status)) = boxed.or_else(|| cause.downcast_ref()) {
            // The library's own text says the status twice.
            return format!("{text}: {}", status.message);
        }
        text = format!("{text}: {cause}");
    }
    text
}

/// Looks, measures and says how it went.
pub(crate) async fn reconcile(
    object: Arc<ChatCluster>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let (began, key) = (Instant::now(), key(&object));
    // Boxed: it holds every child twice, and stacks of threads are small.
    let looked = tokio::time::timeout(DEADLINE, Box::pin(look(&object, &context))).await;
    let result = looked.unwrap_or(Err(Error::Deadline));
    context
        .metrics
        .reconciled(began.elapsed(), result.as_ref().err().map(Error::reason));
    match &result {
        Ok(_) => context.backoff.forget(&key),
        Err(error) => {
            tracing::warn!(cluster = %key, reason = error.reason(), error = chain(error), "a look failed")
        }
    }
    context.metrics.in_backoff(context.backoff.len());
    result
}

/// When to look again after a failure.
#[expect(clippy::needless_pass_by_value, reason = "the controller calls it so")]
pub(crate) fn after_failure(
    object: Arc<ChatCluster>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let pause = match error.retry() {
        Retry::Backoff => context.backoff.next(&key(&object)),
        Retry::AwaitChange => jittered(context.resync),
    };
    context.metrics.in_backoff(context.backoff.len());
    Action::requeue(pause)
}

async fn look(object: &ChatCluster, context: &Context) -> Result<Action, Error> {
    // Not the copy that the watch keeps: it may be older than what this operator wrote last.
    let Some(cluster) = read(object, context).await? else {
        return Ok(Action::await_change());
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return Box::pin(deletion::attend(&cluster, context)).await;
    }
    let mut observed = Observed::default();
    let result = change(&cluster, context, &mut observed).await;
    let (changes, steps) = match &result {
        Ok(did) => (did.changes.as_slice(), did.steps.as_slice()),
        Err(error) => {
            observed.failure = Some((error.reason(), chain(error)));
            (&[][..], &[][..])
        }
    };
    let admin = u16::try_from(ports::ADMIN).unwrap_or_default();
    observed.apart = observe::apart_from_nats(&observed.pods, admin).await;
    let status = status::build(&cluster, &observed, &context.settings, Timestamp::now());
    let told = status::write(&context.client, &cluster, &status, &context.metrics).await;
    context.events.tell(&cluster, &status, changes, steps).await;
    // The first failure is the cause of the second.
    result?;
    told?;
    Ok(Action::requeue(jittered(
        pause(&cluster, &status, observed.plan.as_ref(), Timestamp::now()).min(context.resync),
    )))
}

/// When to look again although nothing was seen to change.
fn pause(
    cluster: &ChatCluster,
    status: &ChatClusterStatus,
    plan: Option<&Plan>,
    now: Timestamp,
) -> Duration {
    let is_ready = status
        .conditions
        .iter()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    if let Some(until) = plan.and_then(|plan| plan.until) {
        let left = u64::try_from(until - now.as_second()).unwrap_or(0);
        return Duration::from_secs(left).max(DRAINING);
    }
    match plan.map(|plan| (&plan.step, plan.reason)) {
        Some((Step::Wait, Reason::PodDraining)) => DRAINING,
        Some((Step::Wait, _)) => UNREADY,
        // A step was done, and the next one may be due.
        Some((step, _)) if *step != Step::Done => DRAINING,
        _ if is_ready && validate::mounted(&cluster.spec).is_empty() => Duration::MAX,
        _ if is_ready => WITH_SECRETS,
        _ => UNREADY,
    }
}

/// What a look did.
struct Did {
    changes: Vec<Change>,
    /// Of the rollout.
    steps: Vec<Plan>,
}

/// The steps that make what is what shall be. What they saw stays in `observed`, however far they came.
async fn change(
    cluster: &ChatCluster,
    context: &Context,
    observed: &mut Observed,
) -> Result<Did, Error> {
    let client = &context.client;
    let found = dereference::dereference(client, cluster, &validate::names(cluster)).await?;
    observed.is_known = true;
    observed.stateful_set = ours(cluster, found.live.stateful_set.clone());
    observed.entrance = entrance(cluster, &found.live);
    observed.pods = found.pods.clone();
    observed.nats = (cluster.spec.nats.mode == NatsMode::Managed).then(|| ObservedNats {
        stateful_set: ours(cluster, found.live.nats.stateful_set.clone()),
        pods: found.nats_pods.clone(),
    });
    observed.drains = observe::drains(&found.pods, &*context.servers).await;
    if validate::is_paused(cluster) {
        return Ok(Did {
            changes: Vec::new(),
            steps: Vec::new(),
        });
    }
    deletion::hold(client, cluster, &context.metrics).await?;
    let valid = validate::validate(
        cluster,
        &found,
        &context.settings,
        &rand::random::<[u8; SECRET_BYTES]>(),
    )?;
    let children = build::build(&valid)?;
    let now = Timestamp::now();
    let ground = Ground {
        known: Known {
            drains: observed.drains.clone(),
            nodes: dereference::nodes(client, &rollout::doubtful_nodes(&found.pods, now)).await,
        },
        pods: &found.pods,
        servers: &*context.servers,
        now,
        pause_seconds: cluster.spec.rollout.pause_between_pods_seconds.into(),
    };
    let applied = apply::apply(
        client,
        &valid,
        children,
        found.live,
        ground,
        &context.metrics,
    )
    .await?;
    observed.stateful_set = Some(applied.rollout.stateful_set);
    if let Some(nats) = &mut observed.nats {
        nats.stateful_set = applied.nats;
    }
    observed.plan = Some(applied.rollout.plan);
    observed.drains = applied.rollout.drains;
    observed.entrance = applied.entrance;
    observed.unloaded =
        observe::unloaded(&observed.pods, &applied.config_map, &*context.servers).await;
    Ok(Did {
        changes: applied.changes,
        steps: applied.rollout.done,
    })
}

/// What led clients in before this look.
fn entrance(cluster: &ChatCluster, live: &dereference::Live) -> Entrance {
    let extensions = live.extensions.iter().cloned();
    Entrance {
        client_service: ours(cluster, live.client_service.clone()),
        ingress: ours(cluster, live.ingress.clone()),
        extensions: extensions
            .filter_map(|found| ours(cluster, Some(found)))
            .collect(),
        unknown_kinds: Vec::new(),
    }
}

/// What has a child's name and is not one says nothing about the cluster.
fn ours<K: kube::Resource>(cluster: &ChatCluster, found: Option<K>) -> Option<K> {
    found.filter(|found| {
        let mut owners = found.meta().owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == cluster.metadata.uid.as_ref())
    })
}

async fn read(object: &ChatCluster, context: &Context) -> Result<Option<ChatCluster>, Error> {
    let api: Api<ChatCluster> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let read = api.get_opt(&object.name_any()).await;
    Ok(read.map_err(|source| status::Error::from(Box::new(source)))?)
}

/// What a ChatCluster is called in logs, and in the memory of failures.
fn key(cluster: &ChatCluster) -> String {
    format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}

#[cfg(test)]
mod tests;
