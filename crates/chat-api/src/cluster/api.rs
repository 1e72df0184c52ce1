//! `spec.api`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;

/// The HTTP API for backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiSpec {
    /// tokensSecretRef names the Secret's entry with the tokens of those who may use the API: one a line, each 32 to 512
    /// characters of visible ASCII, at most 64 of them. Other tokens in it count on all servers a minute or two after they
    /// were written, and none is restarted; another Secret replaces the pods.
    pub tokens_secret_ref: SecretKeyReference,
}
