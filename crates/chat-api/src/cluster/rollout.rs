//! `spec.rollout`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pods are replaced by ones of another revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// pauseBetweenPodsSeconds is how long the newest pod must have been ready before the next old one lets its clients go.
    /// Time to see whether a new release is well while most clients are still on the old one: writing the former spec
    /// meanwhile takes it back. Scale-downs do not pause.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub pause_between_pods_seconds: i32,
}
