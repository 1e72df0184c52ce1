//! The `ChatCluster` resource, `chatcluster.dev/v1alpha1`: what users write and what the operator answers.
//!
//! Here stand fields, defaults, bounds and the rules that an API server can hold by itself (CEL). What needs other objects
//! is decided by the operator's `validate`. [`crd`] is the definition that is installed; `crds/` holds it as YAML.
//! Descriptions are what `kubectl explain` shows: they begin with the field's name, as in Kubernetes' own API.

mod api;
mod auth;
mod availability;
mod drain;
mod image;
mod ingress;
mod nats;
mod reference;
mod rollout;
mod schema;
mod server;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt as _, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use api::ApiSpec;
pub use auth::{AuthSpec, AuthType, JwtAlgorithm, JwtSpec};
pub use availability::{AvailabilitySpec, TopologySpread};
pub use drain::DrainSpec;
pub use image::{ImageSpec, PullPolicy};
pub use ingress::{AffinitySpec, IngressController, IngressSpec, SameSite, SecureCookie};
pub use nats::{
    ManagedNatsSpec, NatsLimits, NatsMode, NatsRequests, NatsResources, NatsSpec, NatsStorage,
    NatsTlsSpec,
};
pub use reference::{GatewayReference, SecretKeyReference, SecretReference};
pub use rollout::RolloutSpec;
pub use server::{CorsCredentials, CorsSpec, LogLevel, RecoverySpec, ServerSpec, Transport};
pub use status::{ChatClusterStatus, Endpoints, RolloutStatus};

/// The most pods of one cluster: each reads the whole log.
pub const MAX_REPLICAS: i32 = 100;
/// The longest name of a ChatCluster: names of children, pods and revisions are made of it.
pub const MAX_NAME_CHARACTERS: usize = 40;

/// What a `ChatCluster` shall be.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "chatcluster.dev",
    version = "v1alpha1",
    kind = "ChatCluster",
    namespaced,
    doc = "ChatCluster is a chat service for Socket.IO clients: servers joined through NATS, behind an ingress.",
    status = "ChatClusterStatus",
    derive = "PartialEq",
    shortname = "chatc",
    category = "chatcluster",
    selectable = ".spec.nats.mode",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether all that was asked for runs."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Pods that were asked for."
    ),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Pods that are ready."
    ),
    printcolumn(
        name = "Connections",
        type_ = "integer",
        json_path = ".status.connections",
        description = "Clients, rounded."
    ),
    printcolumn(
        name = "URL",
        type_ = "string",
        json_path = ".status.endpoints.url",
        description = "Where clients connect."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        description = "Why it is, or is not, ready.",
        priority = 1
    ),
    printcolumn(
        name = "Rollout",
        type_ = "string",
        json_path = ".status.rollout.reason",
        description = "What is done to the pods, or waited for.",
        priority = 1
    ),
    printcolumn(
        name = "NATS",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='NatsConnected')].status",
        description = "Whether the pods are joined through NATS.",
        priority = 1
    ),
    printcolumn(
        name = "Ingress",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='IngressReady')].status",
        description = "Whether the ingress has an address.",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "The image that the pods shall run.",
        priority = 1
    ),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("`metadata.name` must be no more than 40 characters: names of pods and Services are made of it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("`metadata.name` must begin with a letter and consist of lower case letters, digits and '-', such as 'chat': it becomes the name of a Service"),
)]
#[serde(rename_all = "camelCase")]
pub struct ChatClusterSpec {
    /// replicas is the number of chat servers, each a pod. `kubectl scale` and autoscalers write it.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub replicas: i32,

    /// state says whether servers run. 'Suspended' keeps everything but the pods, and `replicas` for the return:
    /// clients are drained away, and the log on NATS stays.
    #[serde(default)]
    pub state: State,

    /// reconciliation says whether the operator acts. While it is 'Paused' the operator writes nothing but status, and
    /// what is changed by hand stays changed; condition ReconciliationPaused tells so.
    #[serde(default)]
    pub reconciliation: Reconciliation,

    /// image is the server's image. Without it, the one that came with the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,

    /// server is how servers treat clients: transports, heartbeats, sizes, recovery, history.
    #[serde(default)]
    pub server: ServerSpec,

    /// auth says who may connect.
    #[serde(default)]
    pub auth: AuthSpec,

    /// api is HTTP for backends: they send messages, and ask who is there. Without it there is none. It has a Service of its
    /// own at port 9091, named as the ChatCluster with `-api` behind it, and no Ingress leads to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiSpec>,

    /// nats is what joins the servers: it holds the log of messages and the sessions. Without it, one that the operator runs.
    #[serde(default)]
    pub nats: NatsSpec,

    /// ingress is how clients outside of the Kubernetes cluster reach the servers.
    #[serde(default)]
    pub ingress: IngressSpec,

    /// drain is how a server lets its clients go before its pod ends: in a rollout, a scale-down, an eviction.
    #[serde(default)]
    pub drain: DrainSpec,

    /// rollout is how pods are replaced when their template changes.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// availability says what must not go at once.
    #[serde(default)]
    pub availability: AvailabilitySpec,

    /// deletionPolicy says what becomes of clients when the ChatCluster is deleted. 'Immediate': everything goes at once, also
    /// while no operator runs. 'Drain': first the servers let their clients go, at the pace of `drain` and no longer than
    /// its deadline, while all the rest stays; a finalizer holds the ChatCluster meanwhile, so the operator must run. It does
    /// not wait when the whole namespace is deleted. What NATS keeps is not deleted either way.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// networkPolicy says whether a NetworkPolicy restricts the pods to what they need: clients, backends where there is an `api`,
    /// each other, NATS, DNS, and the operator.
    #[serde(default)]
    pub network_policy: Presence,

    /// podTemplate is merged over the template of the pods: a PodTemplateSpec with `metadata` and `spec`, where lists such
    /// as `containers` are joined by name. The server's container is 'server'. For example
    /// `{spec: {containers: [{name: server, resources: {requests: {memory: 256Mi}}}]}}`.
    // With a default, because a schema of one's own makes even an `Option` required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open_object")]
    pub pod_template: Option<Map<String, Value>>,
}

/// Whether servers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Servers run.
    #[default]
    Running,
    /// No server runs.
    Suspended,
}

/// Whether the operator acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reconciliation {
    /// It does.
    #[default]
    Active,
    /// It only watches.
    Paused,
}

/// What becomes of clients at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Everything goes at once.
    #[default]
    Immediate,
    /// They are let go first.
    Drain,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Presence {
    /// It is there.
    #[default]
    Enabled,
    /// It is not.
    Disabled,
}

fn one() -> i32 {
    1
}

/// The definition of `ChatCluster`, as it is installed into an API server.
///
/// It is what the derive makes, without `nullable`: a field is there or it is not. Sections default to all of their fields'
/// defaults and not to `{}`, because an API server judges each default by the rules, as it stands.
pub fn crd() -> CustomResourceDefinition {
    schema::finish(ChatCluster::crd())
}

#[cfg(test)]
mod tests;
