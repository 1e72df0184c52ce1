//! `spec.auth`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;
use crate::JwtSection;

/// Who may connect.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'Jwt' || has(self.jwt)")
        .message("`jwt` must be set when `type` is 'Jwt', such as `jwt: {keySecretRef: {name: chat-jwt, key: key}}`"),
    validation = Rule::new("self.type == 'Jwt' || !has(self.jwt)")
        .message("`jwt` may not be specified when `type` is 'None': write `type: Jwt`, or leave it out")
        .field_path(".jwt"),
)]
pub struct AuthSpec {
    /// type is the way clients are known. 'None': everyone may connect, under a name of their choice. 'Jwt': holders of a
    /// signed token, whose `sub` is who they are.
    #[serde(rename = "type", default)]
    pub kind: AuthType,
    /// jwt says which tokens are accepted; with `type: Jwt` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSpec>,
}

/// The way clients are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthType {
    /// Everyone may connect.
    #[default]
    None,
    /// A JSON Web Token is required.
    Jwt,
}

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtSpec {
    /// algorithm is the only signature that is accepted.
    #[serde(default)]
    pub algorithm: JwtAlgorithm,
    /// keySecretRef names the Secret's entry with the key, 32 bytes or more. Another key restarts the servers, one after
    /// another.
    pub key_secret_ref: SecretKeyReference,
    /// issuer that a token must name as `iss`. Without it, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub issuer: Option<String>,
    /// audience that a token must name as `aud`. Without it, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub audience: Option<String>,
    /// clockSkewSeconds is how far the clocks of issuer and servers may differ.
    #[serde(default = "clock_skew")]
    #[schemars(range(min = 0, max = 600))]
    pub clock_skew_seconds: i32,
}

/// Signature algorithms of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HS256,
}

fn clock_skew() -> i32 {
    i32::try_from(JwtSection::default().clock_skew.0.as_secs()).expect("a default fits its field")
}
