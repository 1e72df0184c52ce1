//! References to other objects. No reference crosses a namespace, but for that to a Gateway: which namespaces may attach
//! routes to it is said there, by whoever owns it (`allowedRoutes`).

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

/// A Gateway of the Gateway API, or one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayReference {
    /// name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// namespace of the Gateway. Without it, that of the ChatCluster. The Gateway's `allowedRoutes` must let routes of other
    /// namespaces in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// sectionName is the name of one listener of the Gateway, such as 'https'. Without it, all that fit `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}
