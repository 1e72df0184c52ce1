//! The fourth step, with a client: what shall be against what is.
//!
//! - An object that is not there is created, never applied: so nothing that somebody else made a moment ago is taken over.
//! - An object that does not belong to this ChatCluster is left alone, and named ([`Error::Foreign`]).
//! - An object that is as it shall be is not written: an idle look writes nothing.
//! - Otherwise it is applied by the server, under one field manager and with the object's uid, so that one which was
//!   deleted and made again meanwhile is not hit.
//!
//! How many pods the StatefulSet has at the moment, and what happens to them, is the rollout's ([`carry_out`]).
//!
//! [`apply`] takes [`Children`] apart without `..`: a child that is forgotten here does not compile.

mod child;
mod difference;
mod extensions;
mod nats;
mod ownership;
mod pods;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use super::build::Children;
use super::build::ingress::Entrance;
use super::dereference::Live;
use super::rollout::{Ground, Outcome, carry_out};
use super::validate::Validated;
use crate::metrics::{Metrics, Verb};
use crate::names::MANAGER;
pub(crate) use child::Child;

/// The children as they are now. Only what was applied has a status to speak of.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// What the rollout planner did with the StatefulSet and its pods.
    pub(crate) rollout: Outcome,
    /// The StatefulSet of NATS, if the operator runs it.
    pub(crate) nats: Option<StatefulSet>,
    /// What servers of the newest revision shall have loaded.
    pub(crate) config_map: ConfigMap,
    pub(crate) entrance: Entrance,
    /// What was written, in order.
    pub(crate) changes: Vec<Change>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) verb: Verb,
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The first field that differed, when something was there already.
    pub(crate) field: Option<String>,
}

/// A child could not be made what it shall be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody else's object has the name.
    #[error(
        "{kind} '{name}' exists and does not belong to this ChatCluster: delete or rename it, or give the ChatCluster another name"
    )]
    Foreign { kind: String, name: String },
    /// It is being deleted; its successor can be made afterwards.
    #[error("{kind} '{name}' is being deleted; it will be made again once it is gone")]
    Leaving { kind: String, name: String },
    /// Someone wrote it at the same time, or deleted it.
    #[error("{kind} '{name}' was changed by somebody else at the same time")]
    Conflict {
        kind: String,
        name: String,
        source: Box<kube::Error>,
    },
    /// The API server does not take it.
    #[error("the API server refuses {kind} '{name}'")]
    Refused {
        kind: String,
        name: String,
        source: Box<kube::Error>,
    },
    /// It does not answer, or fails.
    #[error("cannot {verb} {kind} '{name}'")]
    Write {
        verb: Verb,
        kind: String,
        name: String,
        source: Box<kube::Error>,
    },
    /// It cannot be compared.
    #[error("cannot compare {kind} '{name}'")]
    Compare {
        kind: String,
        name: String,
        source: serde_json::Error,
    },
}

/// Makes what is what shall be.
///
/// The order: what pods need to start comes before them, what admits clients after. Deletions come last.
pub(crate) async fn apply(
    client: &Client,
    cluster: &Validated,
    children: Children,
    live: Live,
    ground: Ground<'_>,
    metrics: &Metrics,
) -> Result<Applied, Error> {
    let mut writer = Writer::new(client, cluster, metrics);
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
    writer.ensure(service_account, live.service_account).await?;
    writer.ensure(peers, live.peers).await?;
    let nats = Box::pin(writer.ensure_nats(nats, live.nats)).await?;
    let (same, others) = apart(live.config_maps, &config_map.name_any());
    let config_map = writer.ensure(config_map, same).await?;
    writer
        .ensure(headless_service, live.headless_service)
        .await?;
    let client_service = writer.ensure(client_service, live.client_service).await?;
    let network_policy = writer
        .ensure_if(network_policy, live.network_policy)
        .await?;
    let disruption_budget = writer
        .ensure_if(disruption_budget, live.disruption_budget)
        .await?;
    let rollout = carry_out(&mut writer, stateful_set, live.stateful_set, ground).await?;
    let ingress = writer.ensure_if(ingress, live.ingress).await?;
    let extended = writer.extend(extensions, live.extensions).await?;
    // Last: a ChatCluster may be called so, and then only backends wait.
    let api_service = writer.ensure_if(api_service, live.api_service).await?;

    writer.remove(nats.unwanted).await?;
    writer.remove(api_service.1).await?;
    writer.remove(network_policy.1).await?;
    writer.remove(disruption_budget.1).await?;
    writer.remove(ingress.1).await?;
    writer.remove_all(extended.unwanted).await?;
    if is_rolled_out(&rollout.stateful_set) {
        writer.remove_all(others).await?;
    }
    Ok(Applied {
        rollout,
        nats: nats.stateful_set,
        config_map,
        entrance: Entrance {
            client_service: Some(client_service),
            ingress: ingress.0,
            extensions: extended.there,
            unknown_kinds: extended.unknown_kinds,
        },
        changes: writer.changes,
    })
}

/// The configuration of this name, if it is there, and the others.
fn apart(all: Vec<ConfigMap>, name: &str) -> (Option<ConfigMap>, Vec<ConfigMap>) {
    let mut all = all;
    let found = all.iter().position(|one| one.name_any() == name);
    (found.map(|index| all.remove(index)), all)
}

/// No pod of an earlier revision is left, or can be started again.
fn is_rolled_out(stateful_set: &StatefulSet) -> bool {
    let Some(status) = &stateful_set.status else {
        return false;
    };
    let wanted = stateful_set
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    status.observed_generation == stateful_set.metadata.generation
        && status.current_revision == status.update_revision
        && status.replicas == wanted
        && status.updated_replicas.unwrap_or(0) == wanted
}

/// Writes, and writes down what was written.
pub(crate) struct Writer<'a> {
    client: &'a Client,
    cluster: &'a Validated,
    metrics: &'a Metrics,
    changes: Vec<Change>,
}

impl<'a> Writer<'a> {
    fn new(client: &'a Client, cluster: &'a Validated, metrics: &'a Metrics) -> Self {
        Self {
            client,
            cluster,
            metrics,
            changes: Vec::new(),
        }
    }

    /// `desired`, or the object that is there and shall not be.
    async fn ensure_if<K: Child>(
        &mut self,
        desired: Option<K>,
        live: Option<K>,
    ) -> Result<(Option<K>, Option<K>), Error> {
        match desired {
            Some(desired) => Ok((Some(self.ensure(desired, live).await?), None)),
            None => Ok((None, live)),
        }
    }

    async fn ensure<K: Child>(&mut self, mut desired: K, live: Option<K>) -> Result<K, Error> {
        let stamped = difference::stamp(&mut desired);
        stamped.map_err(|source| compare(&desired, source))?;
        self.ensure_stamped(desired, live).await
    }

    async fn ensure_stamped<K: Child>(&mut self, desired: K, live: Option<K>) -> Result<K, Error> {
        let Some(live) = live else {
            return self.create(&desired).await;
        };
        self.own(&live)?;
        match difference::first(&desired, &live).map_err(|source| compare(&desired, source))? {
            None => Ok(live),
            Some(field) => self.update(desired, live, field).await,
        }
    }

    /// Only what is this cluster's, and stays, is written.
    pub(crate) fn own<K: Child>(&self, live: &K) -> Result<(), Error> {
        let (kind, name) = (live.kind_name(), live.name_any());
        if !ownership::is_of(live.owner_references(), &self.cluster.owner) {
            return Err(Error::Foreign { kind, name });
        }
        if live.meta().deletion_timestamp.is_some() {
            return Err(Error::Leaving { kind, name });
        }
        Ok(())
    }

    async fn create<K: Child>(&mut self, desired: &K) -> Result<K, Error> {
        let name = desired.name_any();
        let parameters = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..Default::default()
        };
        let created = match self.api(desired).create(&parameters, desired).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                return Err(Error::Foreign {
                    kind: desired.kind_name(),
                    name,
                });
            }
            other => other.map_err(|source| failed(desired, Verb::Create, source))?,
        };
        self.note(desired, Verb::Create, None);
        Ok(created)
    }

    async fn update<K: Child>(
        &mut self,
        mut desired: K,
        live: K,
        field: String,
    ) -> Result<K, Error> {
        let name = live.name_any();
        if let Some(claim) = ownership::claim(live.meta()) {
            let claimed = self
                .api(&live)
                .patch(&name, &PatchParams::default(), &Patch::Merge(claim))
                .await;
            claimed.map_err(|source| failed(&live, Verb::Apply, source))?;
        }
        desired.meta_mut().uid = live.uid();
        let parameters = PatchParams::apply(MANAGER).force();
        let applied = self
            .api(&live)
            .patch(&name, &parameters, &Patch::Apply(&desired))
            .await;
        let applied = applied.map_err(|source| failed(&live, Verb::Apply, source))?;
        self.note(&live, Verb::Apply, Some(field));
        Ok(applied)
    }

    /// Deletes what is this cluster's and shall not be. Another's is none of its business.
    async fn remove<K: Child>(&mut self, live: Option<K>) -> Result<(), Error> {
        let Some(live) = live.filter(|live| self.own(live).is_ok()) else {
            return Ok(());
        };
        let name = live.name_any();
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match self.api(&live).delete(&name, &parameters).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            other => other.map_err(|source| failed(&live, Verb::Delete, source))?,
        };
        self.note(&live, Verb::Delete, None);
        Ok(())
    }

    async fn remove_all<K: Child>(&mut self, live: Vec<K>) -> Result<(), Error> {
        for one in live {
            self.remove(Some(one)).await?;
        }
        Ok(())
    }

    fn api<K: Child>(&self, child: &K) -> Api<K> {
        child.api(self.client.clone(), &self.cluster.names.namespace)
    }

    fn note<K: Child>(&mut self, child: &K, verb: Verb, field: Option<String>) {
        let kind = child.kind_name();
        self.metrics.wrote(verb, &kind);
        self.changes.push(Change {
            verb,
            kind,
            name: child.name_any(),
            field,
        });
    }
}

fn compare<K: Child>(child: &K, source: serde_json::Error) -> Error {
    Error::Compare {
        kind: child.kind_name(),
        name: child.name_any(),
        source,
    }
}

fn failed<K: Child>(child: &K, verb: Verb, source: kube::Error) -> Error {
    let (kind, name) = (child.kind_name(), child.name_any());
    let code = match &source {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    let source = Box::new(source);
    // 409: another writer, or another uid. 404: deleted since it was read. 400, 403 and 422 come again if it is sent again.
    if [404, 409].contains(&code) {
        Error::Conflict { kind, name, source }
    } else if [400, 403, 422].contains(&code) {
        Error::Refused { kind, name, source }
    } else {
        Error::Write {
            verb,
            kind,
            name,
            source,
        }
    }
}
