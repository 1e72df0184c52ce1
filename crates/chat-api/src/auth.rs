//! The `auth` section: as it is written, as it holds, and the rules between.
//!
//! A key is for one algorithm. With one key in a file of its own the configuration says for which; in a JSON Web Key Set
//! each key does, and the configuration says which of them are taken.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{DurationText, validate::Check};

const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthSection {
    /// `None`: everyone, under a name of their choice. `Jwt`: holders of a signed token.
    #[serde(rename = "type")]
    pub kind: AuthType,
    /// The token's rules; only with `type: Jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtSection>,
}

/// The way clients are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthType {
    /// Everyone may connect.
    #[default]
    None,
    /// A JSON Web Token is required.
    Jwt,
}

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtSection {
    /// The only accepted signature algorithms; with `keyFile` exactly one.
    pub algorithms: Vec<JwtAlgorithm>,
    /// File that holds the one key: with `HS256` a secret (32 bytes or more; one newline at the end is ignored), else a
    /// public key as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// File that holds a JSON Web Key Set: several keys, of which a token names one by its `kid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Required `iss`, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Required `aud`, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How far the clocks of issuer and server may differ.
    pub clock_skew: DurationText,
}

impl Default for JwtSection {
    fn default() -> Self {
        Self {
            algorithms: vec![JwtAlgorithm::Hs256],
            key_file: None,
            jwks_file: None,
            issuer: None,
            audience: None,
            clock_skew: DurationText::seconds(30),
        }
    }
}

/// Signature algorithms of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
}

impl JwtAlgorithm {
    /// As tokens name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everyone.
    None,
    /// Holders of a token.
    Jwt(Jwt),
}

/// Which tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The keys of signatures.
    pub keys: JwtKeys,
    /// Required `iss`, if set.
    pub issuer: Option<String>,
    /// Required `aud`, if set.
    pub audience: Option<String>,
    /// How far the clocks may differ.
    pub clock_skew: Duration,
}

/// Where the keys are, and for which algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// One key.
    One {
        /// What it is for.
        algorithm: JwtAlgorithm,
        /// The file that holds it.
        file: PathBuf,
    },
    /// A JSON Web Key Set.
    Set {
        /// Keys for others are left out.
        algorithms: Vec<JwtAlgorithm>,
        /// The file that holds it.
        file: PathBuf,
    },
}

pub(crate) fn auth(raw: &AuthSection, check: &mut Check) -> Auth {
    match (raw.kind, &raw.jwt) {
        (AuthType::None, None) => Auth::None,
        (AuthType::None, Some(_)) => {
            let allowed = "nothing, unless `auth.type` is `Jwt`";
            check.problem("auth.jwt", "a group of fields", allowed);
            Auth::None
        }
        (AuthType::Jwt, jwt) => Auth::Jwt(rules(jwt.clone().unwrap_or_default(), check)),
    }
}

fn rules(raw: JwtSection, check: &mut Check) -> Jwt {
    for (path, text) in [
        ("auth.jwt.issuer", &raw.issuer),
        ("auth.jwt.audience", &raw.audience),
    ] {
        if text.as_deref() == Some("") {
            check.problem(path, "", "a text, or no such field");
        }
    }
    if raw.clock_skew.0 > MAX_CLOCK_SKEW {
        let allowed = "a duration from 0s to 10m";
        check.problem("auth.jwt.clockSkew", raw.clock_skew, allowed);
    }
    Jwt {
        keys: keys(&raw, check),
        issuer: raw.issuer,
        audience: raw.audience,
        clock_skew: raw.clock_skew.0,
    }
}

fn keys(raw: &JwtSection, check: &mut Check) -> JwtKeys {
    for (path, file) in [
        ("auth.jwt.keyFile", &raw.key_file),
        ("auth.jwt.jwksFile", &raw.jwks_file),
    ] {
        if file
            .as_ref()
            .is_some_and(|file| file.as_os_str().is_empty())
        {
            check.problem(path, "", "the path of a file, or no such field");
        }
    }
    if raw.key_file.is_some() == raw.jwks_file.is_some() {
        let found = match raw.key_file {
            Some(_) => "both keyFile and jwksFile",
            None => "neither keyFile nor jwksFile",
        };
        let allowed = "one of them: keyFile for one key, jwksFile for a JSON Web Key Set";
        check.push("auth.jwt", found, allowed);
    }
    let algorithms = algorithms(raw, check);
    match (&raw.jwks_file, &raw.key_file) {
        (Some(file), _) => JwtKeys::Set {
            algorithms,
            file: file.clone(),
        },
        (None, file) => JwtKeys::One {
            algorithm: algorithms.first().copied().unwrap_or(JwtAlgorithm::Hs256),
            file: file.clone().unwrap_or_default(),
        },
    }
}

fn algorithms(raw: &JwtSection, check: &mut Check) -> Vec<JwtAlgorithm> {
    let (path, all) = ("auth.jwt.algorithms", &raw.algorithms);
    let shown = || {
        let names: Vec<&str> = all.iter().map(|one| one.as_str()).collect();
        format!("[{}]", names.join(", "))
    };
    let different: BTreeSet<JwtAlgorithm> = all.iter().copied().collect();
    if all.is_empty() || different.len() < all.len() {
        let allowed = "at least one of `HS256`, `RS256` and `ES256`, each once";
        check.problem(path, shown(), allowed);
    } else if all.len() > 1 && raw.jwks_file.is_none() {
        let allowed = "exactly one with keyFile, as one key is for one algorithm; a jwksFile holds keys for several";
        check.problem(path, shown(), allowed);
    }
    all.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerConfig;

    fn problems(yaml: &str) -> Vec<String> {
        let found = ServerConfig::parse(yaml).unwrap().validate().unwrap_err();
        found.0.iter().map(ToString::to_string).collect()
    }

    fn keys_of(jwt: &str) -> JwtKeys {
        let yaml = format!("auth: {{type: Jwt, jwt: {{{jwt}}}}}");
        match ServerConfig::parse(&yaml).unwrap().validate().unwrap().auth {
            Auth::Jwt(jwt) => jwt.keys,
            Auth::None => panic!("no rules for tokens"),
        }
    }

    #[test]
    fn token_rules_without_jwt_are_refused() {
        assert_eq!(problems("auth: {jwt: {keyFile: /key}}").len(), 1);
    }

    #[test]
    fn one_key_is_for_one_algorithm_and_a_set_for_several() {
        let one = |algorithm| JwtKeys::One {
            algorithm,
            file: "/key".into(),
        };
        assert_eq!(keys_of("keyFile: /key"), one(JwtAlgorithm::Hs256));
        assert_eq!(
            keys_of("keyFile: /key, algorithms: [ES256]"),
            one(JwtAlgorithm::Es256)
        );
        let set = JwtKeys::Set {
            algorithms: vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256],
            file: "/set".into(),
        };
        assert_eq!(keys_of("jwksFile: /set, algorithms: [RS256, ES256]"), set);
    }

    #[test]
    fn keys_are_in_one_place_and_algorithms_are_named_once() {
        let one_of = "one of them: keyFile for one key, jwksFile for a JSON Web Key Set";
        let once = "at least one of `HS256`, `RS256` and `ES256`, each once";
        for (jwt, expected) in [
            (
                "",
                format!("auth.jwt: found neither keyFile nor jwksFile; allowed: {one_of}"),
            ),
            (
                "keyFile: /key, jwksFile: /set",
                format!("auth.jwt: found both keyFile and jwksFile; allowed: {one_of}"),
            ),
            (
                "keyFile: ''",
                "auth.jwt.keyFile: found ``; allowed: the path of a file, or no such field"
                    .to_owned(),
            ),
            (
                "jwksFile: /set, algorithms: []",
                format!("auth.jwt.algorithms: found `[]`; allowed: {once}"),
            ),
            (
                "jwksFile: /set, algorithms: [RS256, RS256]",
                format!("auth.jwt.algorithms: found `[RS256, RS256]`; allowed: {once}"),
            ),
            (
                "keyFile: /key, algorithms: [HS256, RS256]",
                "auth.jwt.algorithms: found `[HS256, RS256]`; allowed: exactly one with keyFile, as one key is for one algorithm; a jwksFile holds keys for several".to_owned(),
            ),
        ] {
            let found = problems(&format!("auth: {{type: Jwt, jwt: {{{jwt}}}}}"));
            assert_eq!(found, [expected], "{jwt}");
        }
    }

    #[test]
    fn no_token_is_taken_unsigned() {
        for algorithm in ["none", "HS512", "RS512", "EdDSA"] {
            let yaml =
                format!("auth: {{type: Jwt, jwt: {{jwksFile: /set, algorithms: [{algorithm}]}}}}");
            let found = ServerConfig::parse(&yaml).unwrap_err().0;
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].allowed, "one of `HS256`, `RS256`, `ES256`");
        }
    }
}
