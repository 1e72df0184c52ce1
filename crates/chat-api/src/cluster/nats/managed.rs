//! `spec.nats.managed`: the nats-server that the operator runs.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::ImageSpec;

/// The nats-server that belongs to the ChatCluster.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNatsSpec {
    /// image is the image with nats-server in it, of release 2.11 or newer: an official one, or a copy of it. Without it,
    /// the one that the operator was tested with. Another one restarts NATS: nobody is disconnected, messages wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSpec>,

    /// storageSize is the size of the volume that holds the log and the sessions, such as '10Gi'. The log's oldest messages
    /// go at `retentionBytes`, without that at three fifths of this size. It must not change: the volume is made once.
    #[serde(default = "storage_size")]
    #[schemars(
        length(min = 3, max = 8),
        regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi|Ti)$")
    )]
    pub storage_size: String,

    /// storageClassName is the StorageClass of the volume. Without it, the default one of the Kubernetes cluster. It must not
    /// change: the volume is made once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub storage_class_name: Option<String>,

    /// syncIntervalSeconds is how often NATS forces what it wrote onto the disk. A pod that is killed loses nothing; a node
    /// that loses power may lose the messages of so many seconds, also acknowledged ones. With 0 each message is on the disk
    /// before it is acknowledged: nothing is lost then, and NATS takes as many messages per second as the disk can sync.
    #[serde(default = "sync_interval")]
    #[schemars(range(min = 0, max = 120))]
    pub sync_interval_seconds: i32,

    /// resources is what the pod of NATS asks for, and what it may take at most.
    #[serde(default)]
    pub resources: NatsResources,
}

impl Default for ManagedNatsSpec {
    fn default() -> Self {
        Self {
            image: None,
            storage_size: storage_size(),
            storage_class_name: None,
            sync_interval_seconds: sync_interval(),
            resources: NatsResources::default(),
        }
    }
}

impl ManagedNatsSpec {
    /// Bytes of the volume.
    ///
    /// A size that is not of the form that the schema asks for is none.
    pub fn storage_bytes(&self) -> u64 {
        bytes(&self.storage_size).unwrap_or(0)
    }
}

/// What the pod of NATS may take of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsResources {
    /// requests is what is kept free for it on its node.
    #[serde(default)]
    pub requests: NatsRequests,
    /// limits is what it must not exceed. Without it, nothing is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<NatsLimits>,
}

/// What is kept free for NATS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsRequests {
    /// cpu in cores, such as '2', or in thousandths of a core, such as '500m'.
    #[serde(default = "cpu")]
    #[schemars(length(min = 1, max = 8), regex(pattern = r"^[1-9][0-9]{0,5}m?$"))]
    pub cpu: String,
    /// memory in bytes, such as '512Mi'. NATS keeps an index of the log in memory.
    #[serde(default = "memory")]
    #[schemars(length(min = 3, max = 8), regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi)$"))]
    pub memory: String,
}

impl Default for NatsRequests {
    fn default() -> Self {
        Self {
            cpu: cpu(),
            memory: memory(),
        }
    }
}

/// What NATS must not exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NatsLimits {
    /// cpu in cores, such as '2', or in thousandths of a core, such as '500m'.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), regex(pattern = r"^[1-9][0-9]{0,5}m?$"))]
    pub cpu: Option<String>,
    /// memory in bytes, such as '1Gi'. Beyond it the pod is killed; NATS is told to stay below nine tenths of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 8), regex(pattern = r"^[1-9][0-9]{0,5}(Mi|Gi)$"))]
    pub memory: Option<String>,
}

impl NatsLimits {
    /// Bytes of memory, if they are limited.
    pub fn memory_bytes(&self) -> Option<u64> {
        bytes(self.memory.as_ref()?)
    }
}

/// A quantity of the forms that the schema admits.
fn bytes(quantity: &str) -> Option<u64> {
    let unit = quantity.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = quantity.split_at(unit);
    let scale = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn storage_size() -> String {
    "10Gi".to_owned()
}

/// A second of messages is little to lose with a node, and a sync each second costs next to nothing.
fn sync_interval() -> i32 {
    1
}

fn cpu() -> String {
    "100m".to_owned()
}

fn memory() -> String {
    "256Mi".to_owned()
}
