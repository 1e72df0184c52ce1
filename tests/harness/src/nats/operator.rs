//! NATS with accounts and users that are signed tokens: what `nsc` makes, as much of it as one server and one user need.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An operator with an account that has JetStream, and a system account.
pub struct Operator {
    folder: TempDir,
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    /// A new one.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// Settings of a server that trusts it.
    #[must_use]
    pub fn server_settings(&self) -> String {
        let operator = json!({"type": "operator", "version": 2});
        let storage = json!({"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1});
        let none = json!({});
        let sign = |key: &KeyPair, claims: &Value| token(&self.operator, key, claims);
        format!(
            "operator: {}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {system}: {} }}",
            sign(&self.operator, &operator),
            self.account.public_key(),
            sign(&self.account, &account(&storage)),
            sign(&self.system, &account(&none)),
            system = self.system.public_key(),
        )
    }

    /// The credentials file of a new user of the account, and the secret in it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn user(&self, publish: &[String], subscribe: &[String]) -> (PathBuf, String) {
        let user = KeyPair::new_user();
        let claims = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
            "pub": {"allow": publish}, "sub": {"allow": subscribe},
        });
        let token = token(&self.account, &user, &claims);
        let seed = user.seed().expect("a key with its seed");
        let path = self.folder.path().join("user.creds");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        fs::write(&path, text).expect("a file");
        (path, seed)
    }
}

fn account(storage: &Value) -> Value {
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    if let (Some(limits), Some(storage)) = (limits.as_object_mut(), storage.as_object()) {
        limits.extend(storage.clone());
    }
    json!({"type": "account", "version": 2, "limits": limits})
}

/// What an issuer says about a key, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = encode(&json!({
        "jti": subject.public_key(), "iat": 1, "name": "test", "iss": issuer.public_key(), "sub": subject.public_key(),
        "nats": claims,
    }));
    let signed = format!("{head}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("a key with its seed");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
