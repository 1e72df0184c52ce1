//! `spec.drain`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::DrainSection;

/// How a server lets its clients go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.settleSeconds < self.deadlineSeconds")
        .message("`deadlineSeconds` must be greater than `settleSeconds`: clients are let go in between")
        .field_path(".deadlineSeconds"),
)]
pub struct DrainSpec {
    /// clientsPerSecond is how many clients one pod disconnects per second, so that they do not come back all at once.
    #[serde(default = "rate")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub clients_per_second: i32,
    /// deadlineSeconds is the time after which the pod ends, whoever is still connected. A pod with N clients needs
    /// `settleSeconds` + N / `clientsPerSecond`. Node autoscalers often wait for ten minutes at most.
    #[serde(default = "deadline")]
    #[schemars(range(min = 1, max = 3600))]
    pub deadline_seconds: i32,
    /// settleSeconds is how long a pod that is going still takes new clients, because load balancers learn late.
    #[serde(default = "settle")]
    #[schemars(range(min = 0, max = 300))]
    pub settle_seconds: i32,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            clients_per_second: rate(),
            deadline_seconds: deadline(),
            settle_seconds: settle(),
        }
    }
}

fn rate() -> i32 {
    i32::try_from(DrainSection::default().rate).expect("a default fits its field")
}

/// Longer than the server's own default: a pod holds more clients than a server on a desk.
fn deadline() -> i32 {
    60
}

/// Endpoints reach proxies this late (`semantics.md` 23); a server alone has none before it.
fn settle() -> i32 {
    3
}
