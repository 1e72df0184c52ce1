//! Who a connection is: from the CONNECT packet's auth payload to an [`Identity`], or a refusal.
//!
//! Runs for new and for recovered connections alike. The rules of tokens are in `token`, what they are signed with in
//! `keys`.

mod keys;
mod token;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chatcluster_chat_api::{Auth, JwtKeys};
use chatcluster_socketio::log::MAX_POSITION;
use rand::RngExt;
use serde_json::Value;

pub use keys::BadKey;
use token::TokenRules;

use crate::{
    codes::{Code, Refusal},
    files::{self, ReadError, Watched},
    limits::is_name,
};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`; `None` for an anonymous client.
    pub subject: Option<String>,
    /// The name shown to others.
    pub name: String,
    /// The name was made up, because the client said none: a session that is recovered keeps the one that it has.
    pub is_guest: bool,
    /// When the token ends, clock skew included.
    pub expires: Option<SystemTime>,
}

/// What the auth payload said, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who connects.
    pub identity: Identity,
    /// The highest position of the lobby that the client has; 0 if none.
    pub server_offset: u64,
    /// Whether the client reads refusals with `retry: true`.
    pub is_retryable: bool,
}

/// The keys of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadKeyError {
    /// Their file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It does not hold what it should.
    #[error("{field} {} {bad}", path.display())]
    Bad {
        /// The field that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        bad: BadKey,
    },
}

/// Decides who may connect.
pub struct Authenticator(Rules);

enum Rules {
    Anonymous,
    Token(Box<TokenRules>),
}

impl Authenticator {
    /// Reads what the rules need: with `Jwt`, the file of the keys, which is to be watched then.
    pub(crate) fn load(auth: &Auth) -> Result<(Self, Option<Watched>), LoadKeyError> {
        let Some((field, path)) = key_file(auth) else {
            return Ok((Self(Rules::Anonymous), None));
        };
        let content = files::read(field, path)?;
        let keys = Self::with_keys(auth, &content).map_err(|bad| bad_key(auth, bad))?;
        Ok((keys, Some(Watched::new(field, path, &content))))
    }

    /// With the keys in `content`.
    pub(crate) fn with_keys(auth: &Auth, content: &[u8]) -> Result<Self, BadKey> {
        Ok(Self(match auth {
            Auth::None => Rules::Anonymous,
            Auth::Jwt(jwt) => Rules::Token(Box::new(TokenRules::new(jwt, content)?)),
        }))
    }

    /// Checks the auth payload of a CONNECT packet. Absent and `null` keys are the same.
    pub fn authenticate(&self, payload: &Value) -> Result<Claim, Refusal> {
        let key = |name| payload.get(name).filter(|value| !value.is_null());
        let identity = match &self.0 {
            Rules::Anonymous => anonymous(key("name"))?,
            Rules::Token(rules) => rules.identity(key("token"))?,
        };
        Ok(Claim {
            identity,
            server_offset: server_offset(key("serverOffset"))?,
            is_retryable: key("retryable") == Some(&Value::Bool(true)),
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Rules::Anonymous => "Authenticator(None)",
            Rules::Token(_) => "Authenticator(Jwt)",
        })
    }
}

/// The file of the keys, and the field that names it.
fn key_file(auth: &Auth) -> Option<(&'static str, &Path)> {
    match auth {
        Auth::None => None,
        Auth::Jwt(jwt) => Some(match &jwt.keys {
            JwtKeys::One { file, .. } => ("auth.jwt.keyFile", file),
            JwtKeys::Set { file, .. } => ("auth.jwt.jwksFile", file),
        }),
    }
}

/// What is wrong, and where.
pub(crate) fn bad_key(auth: &Auth, bad: BadKey) -> LoadKeyError {
    let (field, path) = key_file(auth).unwrap_or(("auth.jwt", Path::new("")));
    LoadKeyError::Bad {
        field,
        path: path.to_owned(),
        bad,
    }
}

fn anonymous(name: Option<&Value>) -> Result<Identity, Refusal> {
    let is_guest = name.is_none();
    let name = match name {
        None => guest(),
        Some(Value::String(name)) if is_name(name) => name.clone(),
        Some(_) => return Err(Refusal::of(Code::Name, "name")),
    };
    Ok(Identity {
        subject: None,
        name,
        is_guest,
        expires: None,
    })
}

fn guest() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    let suffix = (0..4).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]));
    "guest-".chars().chain(suffix).collect()
}

fn server_offset(value: Option<&Value>) -> Result<u64, Refusal> {
    match value {
        None => Ok(0),
        Some(value) => value
            .as_u64()
            .filter(|position| *position <= MAX_POSITION)
            .ok_or(Refusal::of(Code::ServerOffset, "serverOffset")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(payload: &Value) -> Result<Claim, Refusal> {
        let (authenticator, _) = Authenticator::load(&Auth::None).unwrap();
        authenticator.authenticate(payload)
    }

    #[test]
    fn without_a_payload_one_is_a_guest() {
        for payload in [
            Value::Null,
            json!({}),
            json!({"name": null, "token": "unused"}),
        ] {
            let claim = claim(&payload).unwrap();
            assert_eq!(claim.identity.subject, None);
            assert!(claim.identity.is_guest);
            assert_eq!((claim.server_offset, claim.is_retryable), (0, false));
            let suffix = claim.identity.name.strip_prefix("guest-").unwrap();
            assert_eq!(suffix.chars().count(), 4, "{suffix}");
        }
    }

    #[test]
    fn a_chosen_name_is_kept_or_refused() {
        let named = claim(&json!({"name": "Zoë"})).unwrap().identity;
        assert_eq!((named.name.as_str(), named.is_guest), ("Zoë", false));
        for name in [json!(""), json!("a\tb"), json!("x".repeat(65)), json!(7)] {
            let refusal = claim(&json!({ "name": name })).unwrap_err();
            assert_eq!(refusal, Refusal::of(Code::Name, "name"), "{name}");
        }
    }

    #[test]
    fn the_server_offset_is_a_position_or_refused() {
        assert_eq!(
            claim(&json!({"serverOffset": 12})).unwrap().server_offset,
            12
        );
        for offset in [json!(-1), json!(1.5), json!("12"), json!(1_u64 << 53)] {
            let refusal = claim(&json!({ "serverOffset": offset })).unwrap_err();
            assert_eq!(
                refusal,
                Refusal::of(Code::ServerOffset, "serverOffset"),
                "{offset}"
            );
        }
    }

    #[test]
    fn only_true_is_retryable() {
        assert!(claim(&json!({"retryable": true})).unwrap().is_retryable);
        assert!(!claim(&json!({"retryable": "yes"})).unwrap().is_retryable);
    }
}
