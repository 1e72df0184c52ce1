//! What the writer can write.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an object of a namespace must be able to do to be a child.
pub(crate) trait Child: Resource + Clone + Debug + Serialize + DeserializeOwned {
    fn kind_name(&self) -> String;
    fn api(&self, client: Client, namespace: &str) -> Api<Self>;
}

macro_rules! children {
    ($($kind:ty),*) => {$(
        impl Child for $kind {
            fn kind_name(&self) -> String {
                <$kind>::kind(&()).into_owned()
            }

            fn api(&self, client: Client, namespace: &str) -> Api<Self> {
                Api::namespaced(client, namespace)
            }
        }
    )*};
}

// Not one `impl` for all: another kind's name stands in the object (`extensions.rs`).
children!(
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    NetworkPolicy,
    PodDisruptionBudget,
    StatefulSet,
    Pod,
    Ingress
);
