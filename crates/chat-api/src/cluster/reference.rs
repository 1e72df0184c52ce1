//! References to Secrets of the same namespace. Names of others are not accepted: no reference crosses a namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of a Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyReference {
    /// name of the Secret, which is in the namespace of the ChatCluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// key is the entry of the Secret's `data`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A Secret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// name of the Secret, which is in the namespace of the ChatCluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
