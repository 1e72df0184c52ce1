//! Every name that the operator gives: labels, annotations, children, ports, paths in pods. One owning place, so that what
//! is written and what is looked for cannot differ.

use std::collections::BTreeMap;

/// The field manager of all writes, and the value of `app.kubernetes.io/managed-by`.
pub(crate) const MANAGER: &str = "chatcluster-operator";
/// The name of the servers, as `app.kubernetes.io/name` says it.
const APPLICATION: &str = "chatcluster-server";
/// The name of the nats-server that the operator runs. Not 'nats': a release of somebody else's chart may be called that.
const NATS: &str = "chatcluster-nats";

const NAME: &str = "app.kubernetes.io/name";
/// The label by which anything of a ChatCluster names it.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// On pods: whether the client Service sends them new clients. The template says "true", so that a pod which is recreated
/// while no operator runs serves.
pub(crate) const ACCEPTING: &str = "chatcluster.dev/accepting";

/// On ChatClusters whose clients are let go before they are deleted.
pub(crate) const FINALIZER: &str = "chatcluster.dev/drain";

/// On children: the hash of what was last asked for, by which a field that is no longer asked for is noticed.
pub(crate) const DESIRED_HASH: &str = "chatcluster.dev/desired-hash";
/// On the StatefulSet: the hash of the pods' template that was asked for.
pub(crate) const TEMPLATE_HASH: &str = "chatcluster.dev/template-hash";
/// On the pod of NATS: the hash of the configuration that it reads at start.
pub(crate) const CONFIG_HASH: &str = "chatcluster.dev/config-hash";
/// On pods: the hash of the Secrets that servers read at start.
pub(crate) const SECRETS_HASH: &str = "chatcluster.dev/secrets-hash";

/// The container of the server.
pub(crate) const CONTAINER: &str = "server";
/// The program in it.
pub(crate) const PROGRAM: &str = "chatcluster-server";
/// The file that the server reads.
pub(crate) const CONFIG_KEY: &str = "server.yaml";
/// The entry of the peer Secret.
pub(crate) const PEER_SECRET_KEY: &str = "relay-secret";

/// The container of NATS, and the program in it.
pub(crate) const NATS_PROGRAM: &str = "nats-server";
/// The file that NATS reads.
pub(crate) const NATS_CONFIG_KEY: &str = "nats.conf";
/// Who the servers are to NATS.
pub(crate) const NATS_USER: &str = "chatcluster";
/// The entry of the Secret with the password of that user.
pub(crate) const NATS_PASSWORD_KEY: &str = "password";

/// Ports of a pod.
pub(crate) mod ports {
    /// For clients, and its name.
    pub(crate) const CLIENTS: i32 = 3000;
    pub(crate) const CLIENTS_NAME: &str = "http";
    /// For the other pods.
    pub(crate) const RELAY: i32 = 3001;
    pub(crate) const RELAY_NAME: &str = "relay";
    /// For backends.
    pub(crate) const API: i32 = 9091;
    pub(crate) const API_NAME: &str = "api";
    /// For probes, metrics, the drain.
    pub(crate) const ADMIN: i32 = 9090;
    pub(crate) const ADMIN_NAME: &str = "admin";
    /// Of the client Service.
    pub(crate) const SERVICE: i32 = 80;
    /// Of NATS, for the servers.
    pub(crate) const NATS: i32 = 4222;
    pub(crate) const NATS_NAME: &str = "nats";
    /// Of NATS, for probes.
    pub(crate) const MONITOR: i32 = 8222;
    pub(crate) const MONITOR_NAME: &str = "monitor";
}

/// Folders in a pod.
pub(crate) mod paths {
    pub(crate) const CONFIG: &str = "/etc/chatcluster/config";
    pub(crate) const SECRETS: &str = "/etc/chatcluster/secrets";
    pub(crate) const DATA: &str = "/var/lib/chatcluster";
    pub(crate) const NATS_CONFIG: &str = "/etc/nats";
    pub(crate) const NATS_DATA: &str = "/data";
}

/// The names of one ChatCluster's children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Of the ChatCluster.
    pub(crate) cluster: String,
    /// Where it is.
    pub(crate) namespace: String,
}

impl Names {
    /// StatefulSet, client Service, ServiceAccount, PodDisruptionBudget, NetworkPolicy and Ingress have the cluster's own
    /// name.
    pub(crate) fn own(&self) -> String {
        self.cluster.clone()
    }

    /// The headless Service, by which pods have names.
    pub(crate) fn headless(&self) -> String {
        format!("{}-pods", self.cluster)
    }

    /// The Service for backends.
    pub(crate) fn api(&self) -> String {
        format!("{}-api", self.cluster)
    }

    /// Where backends reach the servers.
    pub(crate) fn api_url(&self) -> String {
        let (service, port) = (self.api(), ports::API);
        format!("http://{service}.{}.svc:{port}", self.namespace)
    }

    /// The Secret that pods share.
    pub(crate) fn peers(&self) -> String {
        format!("{}-peers", self.cluster)
    }

    /// The ConfigMap with this content.
    pub(crate) fn config(&self, hash: &str) -> String {
        format!("{}-config-{hash}", self.cluster)
    }

    /// StatefulSet, Service, Secret, ConfigMap and NetworkPolicy of the nats-server that the operator runs.
    pub(crate) fn nats(&self) -> String {
        format!("{}-nats", self.cluster)
    }

    /// Where servers reach it.
    pub(crate) fn nats_url(&self) -> String {
        let (service, port) = (self.nats(), ports::NATS);
        format!("nats://{service}.{}.svc:{port}", self.namespace)
    }

    /// What finds its pod. As with [`Names::selector`], nothing may be added.
    pub(crate) fn nats_selector(&self) -> BTreeMap<String, String> {
        labels(&[(NAME, NATS), (INSTANCE, &self.cluster)])
    }

    /// What its objects carry.
    pub(crate) fn nats_labels(&self) -> BTreeMap<String, String> {
        let mut all = self.nats_selector();
        all.extend(labels(&[(MANAGED_BY, MANAGER)]));
        all
    }

    /// What finds the pods. A StatefulSet's selector cannot change: nothing may be added here.
    pub(crate) fn selector(&self) -> BTreeMap<String, String> {
        labels(&[(NAME, APPLICATION), (INSTANCE, &self.cluster)])
    }

    /// What every child carries.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = self.selector();
        all.extend(labels(&[(MANAGED_BY, MANAGER)]));
        all
    }

    /// What finds the children, and their pods, in a list.
    pub(crate) fn query(&self) -> String {
        query(&self.labels())
    }
}

/// What finds the children of all ChatClusters.
pub(crate) fn all_children() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Labels in the form that lists take.
pub(crate) fn query(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Pairs as Kubernetes' types want them.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
