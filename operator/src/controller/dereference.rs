//! The first step, with a client: everything outside of the ChatCluster that the later ones look at.
//!
//! It reads and never writes. Of Secrets only the names of entries go on from here: no later step can write a secret into a
//! log, a status or another object.

use std::collections::{BTreeMap, BTreeSet};

use chatcluster_chat_api::cluster::{ChatCluster, NatsMode};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self as core, ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::build::ingress;
use super::rollout::{self, Node};
use super::validate;
use crate::absent::is_absent;
use crate::names::{Names, query};

/// The most pods that are listed; there cannot be more than twice `MAX_REPLICAS`.
const MAX_PODS: u32 = 500;

/// What is there.
#[derive(Clone, Debug)]
pub(crate) struct Dereferenced {
    /// The Secrets that the ChatCluster names; `None` for one that is not there.
    pub(crate) secrets: BTreeMap<String, Option<SecretFacts>>,
    /// The children as they are.
    pub(crate) live: Live,
    /// The pods.
    pub(crate) pods: Vec<Pod>,
    /// The pods of NATS, if the operator runs it: one, or none.
    pub(crate) nats_pods: Vec<Pod>,
}

/// The entries of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecretFacts(pub(crate) BTreeSet<String>);

/// Objects under the names of children, whoever made them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) service_account: Option<ServiceAccount>,
    pub(crate) peers: Option<Secret>,
    pub(crate) nats: LiveNats,
    /// All configurations that were ever made and not yet deleted.
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) headless_service: Option<Service>,
    pub(crate) client_service: Option<Service>,
    pub(crate) api_service: Option<Service>,
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) stateful_set: Option<StatefulSet>,
    pub(crate) ingress: Option<Ingress>,
    /// Of the kinds of all ingress dialects.
    pub(crate) extensions: Vec<DynamicObject>,
}

/// Those of NATS. They are looked for only if the operator is to run it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveNats {
    pub(crate) secret: Option<Secret>,
    pub(crate) config_map: Option<ConfigMap>,
    pub(crate) service: Option<Service>,
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) stateful_set: Option<StatefulSet>,
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {kind} {name}")]
pub(crate) struct Error {
    kind: String,
    name: String,
    source: Box<kube::Error>,
}

/// Reads it.
pub(crate) async fn dereference(
    client: &Client,
    cluster: &ChatCluster,
    names: &Names,
) -> Result<Dereferenced, Error> {
    let reader = Reader {
        client,
        namespace: &names.namespace,
    };
    let mut secrets = BTreeMap::new();
    // Not the ingress's certificate: its controller reads that.
    let mounted = validate::mounted(&cluster.spec).into_iter();
    let names_of_secrets: BTreeSet<String> = mounted.map(|mounted| mounted.secret).collect();
    for name in names_of_secrets {
        let secret: Option<Secret> = reader.get("Secret", &name).await?;
        secrets.insert(name, secret.as_ref().map(SecretFacts::of));
    }
    let own = names.own();
    let is_managed = cluster.spec.nats.mode == NatsMode::Managed;
    let (nats, nats_pods) = if is_managed {
        let pods = reader.list("Pods", &query(&names.nats_labels())).await?;
        (reader.nats(names).await?, pods)
    } else {
        Default::default()
    };
    let live = Live {
        nats,
        service_account: reader.get("ServiceAccount", &own).await?,
        peers: reader.get("Secret", &names.peers()).await?,
        config_maps: reader.list("ConfigMaps", &names.query()).await?,
        headless_service: reader.get("Service", &names.headless()).await?,
        client_service: reader.get("Service", &own).await?,
        api_service: reader.get("Service", &names.api()).await?,
        network_policy: reader.get("NetworkPolicy", &own).await?,
        disruption_budget: reader.get("PodDisruptionBudget", &own).await?,
        stateful_set: reader.get("StatefulSet", &own).await?,
        ingress: reader.get("Ingress", &own).await?,
        extensions: reader.extensions(&own).await?,
    };
    let pods = reader.list("Pods", &names.query()).await?;
    Ok(Dereferenced {
        secrets,
        live,
        pods,
        nats_pods,
    })
}

/// What is known of nodes. An operator of one namespace may not be allowed to look: then nothing is known.
pub(crate) async fn nodes(client: &Client, names: &BTreeSet<String>) -> BTreeMap<String, Node> {
    let api: Api<core::Node> = Api::all(client.clone());
    let mut known = BTreeMap::new();
    for name in names {
        let node = match api.get_opt(name).await {
            Ok(found) => rollout::node_of(found.as_ref()),
            Err(error) => {
                tracing::debug!(%error, node = %name, "a node cannot be read");
                Node::Unknown
            }
        };
        known.insert(name.clone(), node);
    }
    known
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
    async fn get<K>(&self, kind: &'static str, name: &str) -> Result<Option<K>, Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        api.get_opt(name).await.map_err(|source| Error {
            kind: kind.to_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        })
    }

    async fn nats(&self, names: &Names) -> Result<LiveNats, Error> {
        let name = &names.nats();
        // Listed like the others, so that no right to read any one of them is needed. One without the labels is a foreign one.
        let config_maps = query(&names.nats_labels());
        let config_maps: Vec<ConfigMap> = self.list("ConfigMaps", &config_maps).await?;
        Ok(LiveNats {
            secret: self.get("Secret", name).await?,
            config_map: config_maps.into_iter().find(|one| one.name_any() == *name),
            service: self.get("Service", name).await?,
            network_policy: self.get("NetworkPolicy", name).await?,
            stateful_set: self.get("StatefulSet", name).await?,
        })
    }

    /// The objects of kinds that need not be installed. Where the operator has no right to read a kind there is nothing of
    /// it that it made: that must not keep all the rest from being read.
    async fn extensions(&self, name: &str) -> Result<Vec<DynamicObject>, Error> {
        let mut all = Vec::new();
        for kind in ingress::kinds() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), self.namespace, &kind);
            match api.get_opt(name).await {
                Ok(found) => all.extend(found),
                Err(kube::Error::Api(status)) if status.is_forbidden() => {}
                Err(error) if is_absent(&error) => {}
                Err(source) => {
                    return Err(Error {
                        kind: kind.kind,
                        name: name.to_owned(),
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(all)
    }

    async fn list<K>(&self, kind: &'static str, query: &str) -> Result<Vec<K>, Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let all = ListParams::default().labels(query).limit(MAX_PODS);
        let found = api.list(&all).await;
        let found = found.map_err(|source| Error {
            kind: kind.to_owned(),
            name: query.to_owned(),
            source: Box::new(source),
        })?;
        let mut items = found.items;
        items.sort_by_key(kube::ResourceExt::name_any);
        Ok(items)
    }
}

impl SecretFacts {
    fn of(secret: &Secret) -> Self {
        Self(
            secret
                .data
                .iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect(),
        )
    }
}
