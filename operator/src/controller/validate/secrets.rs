//! Secrets that pods see as files: which entry of which Secret, where, and whether it is there. What is in them is the
//! servers' business, who read it again when it changes.

use std::collections::BTreeMap;

use chatcluster_chat_api::cluster::{ChatClusterSpec, SecretKeyReference};

use crate::controller::dereference::SecretFacts;
use crate::names::paths;

/// One Secret's entries as files of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountedSecret {
    /// The folder's name, which is the volume's, too.
    pub(crate) folder: &'static str,
    /// The field that names the Secret.
    pub(crate) field: &'static str,
    pub(crate) secret: String,
    pub(crate) keys: Vec<String>,
}

/// Folders of secrets, by what they are for.
pub(super) mod folders {
    pub(crate) const API: &str = "api";
    pub(crate) const JWT: &str = "jwt";
    pub(crate) const JWKS: &str = "jwks";
    pub(crate) const NATS_CREDENTIALS: &str = "nats-credentials";
    pub(crate) const NATS_PASSWORD: &str = "nats-password";
    pub(crate) const NATS_TOKEN: &str = "nats-token";
    pub(crate) const NATS_CA: &str = "nats-ca";
    pub(crate) const NATS_CLIENT: &str = "nats-client";
}

/// Entries of a Secret of type `kubernetes.io/tls`.
pub(super) const TLS_CERT: &str = "tls.crt";
pub(super) const TLS_KEY: &str = "tls.key";

impl MountedSecret {
    pub(super) fn one(
        folder: &'static str,
        field: &'static str,
        reference: &SecretKeyReference,
    ) -> Self {
        let SecretKeyReference { name, key } = reference;
        Self {
            folder,
            field,
            secret: name.clone(),
            keys: vec![key.clone()],
        }
    }

    /// The folder in the pod.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", paths::SECRETS, self.folder)
    }
}

/// What the spec names.
pub(crate) fn mounted(spec: &ChatClusterSpec) -> Vec<MountedSecret> {
    let mut all = Vec::new();
    let mut one = |folder, field, reference: Option<&SecretKeyReference>| {
        all.extend(reference.map(|reference| MountedSecret::one(folder, field, reference)));
    };
    let nats = &spec.nats;
    let jwt = spec.auth.jwt.as_ref();
    let api = spec.api.as_ref();
    one(
        folders::API,
        "spec.api.tokensSecretRef",
        api.map(|api| &api.tokens_secret_ref),
    );
    one(
        folders::JWT,
        "spec.auth.jwt.keySecretRef",
        jwt.and_then(|jwt| jwt.key_secret_ref.as_ref()),
    );
    one(
        folders::JWKS,
        "spec.auth.jwt.jwksSecretRef",
        jwt.and_then(|jwt| jwt.jwks_secret_ref.as_ref()),
    );
    one(
        folders::NATS_CREDENTIALS,
        "spec.nats.credentialsSecretRef",
        nats.credentials_secret_ref.as_ref(),
    );
    one(
        folders::NATS_PASSWORD,
        "spec.nats.passwordSecretRef",
        nats.password_secret_ref.as_ref(),
    );
    one(
        folders::NATS_TOKEN,
        "spec.nats.tokenSecretRef",
        nats.token_secret_ref.as_ref(),
    );
    let tls = nats.tls.as_ref();
    one(
        folders::NATS_CA,
        "spec.nats.tls.caSecretRef",
        tls.and_then(|tls| tls.ca_secret_ref.as_ref()),
    );
    all.extend(
        tls.and_then(|tls| tls.client_secret_ref.as_ref())
            .map(|secret| MountedSecret {
                folder: folders::NATS_CLIENT,
                field: "spec.nats.tls.clientSecretRef",
                secret: secret.name.clone(),
                keys: vec![TLS_CERT.to_owned(), TLS_KEY.to_owned()],
            }),
    );
    all
}

/// The file of the only entry in `folder`, if it is mounted.
pub(super) fn file(all: &[MountedSecret], folder: &str) -> Option<std::path::PathBuf> {
    let mounted = all.iter().find(|mounted| mounted.folder == folder)?;
    Some(format!("{}/{}", mounted.path(), mounted.keys.first()?).into())
}

/// Everything that is missing.
pub(super) fn missing(
    all: &[MountedSecret],
    found: &BTreeMap<String, Option<SecretFacts>>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for MountedSecret {
        folder: _,
        field,
        secret,
        keys,
    } in all
    {
        let facts = found.get(secret).and_then(Option::as_ref);
        for key in keys {
            match facts.map(|facts| facts.0.contains(key)) {
                None => missing.push(format!(
                    "Secret '{secret}' with the entry '{key}' is missing: create it (`{field}`)"
                )),
                Some(false) => missing.push(format!(
                    "Secret '{secret}' has no entry '{key}': add it (`{field}`)"
                )),
                Some(true) => {}
            }
        }
    }
    missing
}
