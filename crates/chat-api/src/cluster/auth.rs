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
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.keySecretRef) != has(self.jwksSecretRef)")
        .message("exactly one of `keySecretRef` and `jwksSecretRef` must be set: the first names one key, the second a JSON Web Key Set"),
    validation = Rule::new("has(self.jwksSecretRef) || size(self.algorithms) == 1")
        .message("`algorithms` must hold exactly one with `keySecretRef`, as one key is for one algorithm; for several use `jwksSecretRef`, a JSON Web Key Set")
        .field_path(".algorithms"),
)]
pub struct JwtSpec {
    /// algorithms are the only signatures that are accepted. 'HS256': issuer and servers share a secret. 'RS256', 'ES256':
    /// the servers have the issuer's public key. With `keySecretRef` exactly one.
    #[serde(default = "algorithms")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub algorithms: Vec<JwtAlgorithm>,
    /// keySecretRef names the Secret's entry with the one key: with 'HS256' the secret, 32 bytes or more, else the public
    /// key as PEM. Another key counts on all servers a minute or two after it was written, and none is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyReference>,
    /// jwksSecretRef names the Secret's entry with a JSON Web Key Set: several keys, of which a token names one by its
    /// `kid`. So the old and the new key of an issuer can both count for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_secret_ref: Option<SecretKeyReference>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

fn algorithms() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::HS256]
}

fn clock_skew() -> i32 {
    i32::try_from(JwtSection::default().clock_skew.0.as_secs()).expect("a default fits its field")
}
