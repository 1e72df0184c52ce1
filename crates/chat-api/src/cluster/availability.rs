//! `spec.availability`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Presence;

/// What must not go at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilitySpec {
    /// podDisruptionBudget says whether evictions, as by `kubectl drain`, take one pod at a time.
    #[serde(default)]
    pub pod_disruption_budget: Presence,
    /// topologySpread says whether pods are kept apart, over nodes and zones. With 'Required' a pod that would share a
    /// node with another waits until there is one without.
    #[serde(default)]
    pub topology_spread: TopologySpread,
    /// minReadySeconds is how long a new pod must have been ready to count as available.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: i32,
}

/// Whether pods are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TopologySpread {
    /// Where it is possible.
    #[default]
    Preferred,
    /// Always.
    Required,
    /// Not asked for.
    Disabled,
}
