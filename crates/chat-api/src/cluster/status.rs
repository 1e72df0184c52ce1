//! `status`: what the operator saw.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw at its last look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatClusterStatus {
    /// observedGeneration is the `metadata.generation` that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// replicas is the number of pods that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// readyReplicas is the number of pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// updatedReplicas is the number of pods of `updateRevision`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub updated_replicas: Option<i32>,
    /// selector finds the pods, in the form that autoscalers read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// currentRevision is the StatefulSet's revision before the rollout that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub current_revision: Option<String>,
    /// updateRevision is the StatefulSet's revision that pods shall have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub update_revision: Option<String>,
    /// image is the image that the pods shall run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// connections is the number of clients, as far as servers answer, rounded to two digits; metrics know it exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub connections: Option<i64>,
    /// rollout is what the operator does to bring the pods to what was asked for. It is absent while nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// endpoints is where clients and backends connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// conditions are statements about the cluster. Ready: all that was asked for runs, at the newest revision.
    /// Available: at least one pod takes clients. Progressing: pods are being started, replaced or ended. Draining: a pod
    /// lets its clients go. NatsConnected: the servers read the log on NATS. IngressReady: the ingress is served.
    /// ConnectionsCapped: something on the way is known to end connections that are well. Degraded: something is wrong
    /// that does not mend itself, and the message says what. ReconciliationPaused: the operator only watches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// reason is the step, or what it waits for, in one word: such as SurgePodAdded, PodDraining, PodReplaced, PodRemoved,
    /// PodNotReady.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// message says it for people, with the pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// remainingConnections is the number of clients of the servers that let theirs go, rounded to two digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub remaining_connections: Option<i64>,
}

/// Where clients and backends connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// url is the address for clients: the ingress's, or that of the Service inside of the Kubernetes cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub url: Option<String>,
    /// apiUrl is the address of the HTTP API for backends inside of the Kubernetes cluster, if `spec.api` asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub api_url: Option<String>,
}
