//! JSON Web Tokens: signed with a key that counts, expiry always, issuer and audience where configured.
//!
//! Neither token nor key ever reaches an error, a `Debug` or a log line.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use chatcluster_chat_api::{Jwt, JwtAlgorithm};
use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::Identity;
use super::keys::{BadKey, Keys, library};
use crate::{
    codes::{Code, Refusal},
    limits::{NAME_CHARACTERS, is_name},
};

/// A token is parsed only up to this length; real ones are far shorter.
const MAX_TOKEN_BYTES: usize = 16 << 10;
const MAX_SUBJECT_CHARACTERS: usize = 256;
const ALGORITHMS: [JwtAlgorithm; 3] = [
    JwtAlgorithm::Hs256,
    JwtAlgorithm::Rs256,
    JwtAlgorithm::Es256,
];

/// What a token must be.
pub(super) struct TokenRules {
    keys: Keys,
    /// One for each algorithm: a key is never asked about another one.
    validations: HashMap<Algorithm, Validation>,
    clock_skew: Duration,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, with or without a fraction (RFC 7519, section 2).
    exp: f64,
    name: Option<String>,
}

impl TokenRules {
    /// With the keys in `content`.
    pub(super) fn new(jwt: &Jwt, content: &[u8]) -> Result<Self, BadKey> {
        let validations = ALGORITHMS.map(library).into_iter();
        Ok(Self {
            keys: Keys::read(&jwt.keys, content)?,
            validations: validations
                .map(|algorithm| (algorithm, validation(jwt, algorithm)))
                .collect(),
            clock_skew: Duration::from_secs(jwt.clock_skew.as_secs()),
        })
    }

    pub(super) fn identity(&self, token: Option<&Value>) -> Result<Identity, Refusal> {
        let invalid = Refusal::of(Code::TokenInvalid, "token");
        let token = match token {
            None => return Err(Refusal::of(Code::TokenRequired, "token")),
            Some(Value::String(token)) if token.len() <= MAX_TOKEN_BYTES => token,
            Some(_) => return Err(invalid),
        };
        let claims = self.claims(token).map_err(|error| match error {
            ErrorKind::ExpiredSignature => Refusal::of(Code::TokenExpired, "token"),
            _ => invalid,
        })?;
        if claims.sub.is_empty() || claims.sub.chars().nth(MAX_SUBJECT_CHARACTERS).is_some() {
            return Err(invalid);
        }
        let shown = || claims.sub.chars().take(NAME_CHARACTERS).collect();
        let name = claims.name.unwrap_or_else(shown);
        if !is_name(&name) {
            return Err(Refusal::of(Code::Name, "token"));
        }
        let expires = SystemTime::UNIX_EPOCH
            .checked_add(Duration::try_from_secs_f64(claims.exp).unwrap_or(Duration::MAX))
            .and_then(|at| at.checked_add(self.clock_skew));
        Ok(Identity {
            subject: Some(claims.sub),
            name,
            is_guest: false,
            expires,
        })
    }

    /// What the token says, if one of the keys that it may be signed with has signed it.
    fn claims(&self, token: &str) -> Result<Claims, ErrorKind> {
        let header = decode_header(token).map_err(jsonwebtoken::errors::Error::into_kind)?;
        let mut refused = ErrorKind::InvalidSignature;
        for (algorithm, key) in self.keys.candidates(&header) {
            let validation = &self.validations[&library(algorithm)];
            match decode(token, key, validation) {
                Ok(TokenData { claims, .. }) => return Ok(claims),
                Err(error) => refused = error.into_kind(),
            }
            if refused != ErrorKind::InvalidSignature {
                break;
            }
        }
        Err(refused)
    }
}

fn validation(jwt: &Jwt, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = jwt.clock_skew.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp", "sub"];
    if let Some(issuer) = &jwt.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    match &jwt.audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        // Without an audience of its own the server accepts tokens for any.
        None => validation.validate_aud = false,
    }
    validation.set_required_spec_claims(&required);
    validation
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chatcluster_chat_api::{Auth, JwtKeys};
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;
    use crate::auth::{Authenticator, LoadKeyError};

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn authenticator(issuer: Option<&str>, audience: Option<&str>) -> Authenticator {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [KEY, b"\n"].concat()).unwrap();
        let (authenticator, _) = Authenticator::load(&auth(file.path(), issuer, audience)).unwrap();
        authenticator
    }

    fn auth(key_file: &Path, issuer: Option<&str>, audience: Option<&str>) -> Auth {
        Auth::Jwt(Jwt {
            keys: JwtKeys::One {
                algorithm: JwtAlgorithm::Hs256,
                file: key_file.to_owned(),
            },
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            clock_skew: Duration::from_secs(30),
        })
    }

    fn seconds_from_now(seconds: i64) -> i64 {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        i64::try_from(now).unwrap() + seconds
    }

    fn signed(header: &Header, claims: &Value) -> Value {
        let token = jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(KEY)).unwrap();
        json!({ "token": token })
    }

    fn code(result: Result<crate::auth::Claim, Refusal>) -> Code {
        result.expect_err("refused").code
    }

    #[test]
    fn the_subject_is_the_identity_and_the_name_is_shown() {
        let authenticator = authenticator(None, None);
        let exp = seconds_from_now(60);
        let payload = signed(
            &Header::default(),
            &json!({"sub": "u-1", "name": "Ann", "exp": exp, "aud": "any"}),
        );
        let identity = authenticator.authenticate(&payload).unwrap().identity;
        assert_eq!(
            (identity.subject.as_deref(), identity.name.as_str()),
            (Some("u-1"), "Ann")
        );
        assert!(identity.expires.unwrap() > SystemTime::now() + Duration::from_secs(60));

        let mut payload = signed(&Header::default(), &json!({"sub": "u-1", "exp": exp}));
        payload["name"] = json!("somebody else");
        assert_eq!(
            authenticator.authenticate(&payload).unwrap().identity.name,
            "u-1"
        );
    }

    #[test]
    fn an_expiry_may_have_a_fraction_and_a_subject_may_be_longer_than_a_name() {
        let authenticator = authenticator(None, None);
        let exp = seconds_from_now(60) as f64 + 0.5;
        let subject = "s".repeat(100);
        let payload = signed(&Header::default(), &json!({"sub": subject, "exp": exp}));
        let identity = authenticator.authenticate(&payload).unwrap().identity;
        assert_eq!(identity.subject, Some(subject.clone()));
        assert_eq!(identity.name, subject[..NAME_CHARACTERS]);
        let payload = signed(
            &Header::default(),
            &json!({"sub": subject, "exp": seconds_from_now(-60) as f64 + 0.5}),
        );
        assert_eq!(
            code(authenticator.authenticate(&payload)),
            Code::TokenExpired
        );
    }

    #[test]
    fn a_missing_token_is_required() {
        assert_eq!(
            code(authenticator(None, None).authenticate(&json!({"name": "x"}))),
            Code::TokenRequired
        );
    }

    #[test]
    fn an_expired_token_says_so_beyond_the_clock_skew() {
        let authenticator = authenticator(None, None);
        let claims = |exp| {
            signed(
                &Header::default(),
                &json!({"sub": "u", "exp": seconds_from_now(exp)}),
            )
        };
        authenticator.authenticate(&claims(-20)).unwrap();
        assert_eq!(
            code(authenticator.authenticate(&claims(-40))),
            Code::TokenExpired
        );
    }

    #[test]
    fn other_algorithms_are_refused() {
        let authenticator = authenticator(None, None);
        let claims = json!({"sub": "u", "exp": seconds_from_now(60)});
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let payload = signed(&Header::new(algorithm), &claims);
            assert_eq!(
                code(authenticator.authenticate(&payload)),
                Code::TokenInvalid
            );
        }
        // {"alg":"none"}.{"sub":"u","exp":9999999999}, with and without a signature part
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1IiwiZXhwIjo5OTk5OTk5OTk5fQ";
        for token in [
            unsigned.to_owned(),
            format!("{unsigned}."),
            format!("{unsigned}.AAAA"),
        ] {
            assert_eq!(
                code(authenticator.authenticate(&json!({ "token": token }))),
                Code::TokenInvalid
            );
        }
    }

    #[test]
    fn tokens_that_prove_nothing_are_refused() {
        let authenticator = authenticator(Some("iss"), Some("aud"));
        let exp = seconds_from_now(60);
        let good = json!({"sub": "u", "exp": exp, "iss": "iss", "aud": ["aud", "other"]});
        authenticator
            .authenticate(&signed(&Header::default(), &good))
            .unwrap();
        for (key, value) in [
            ("iss", json!("other")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("sub", json!("")),
            ("sub", Value::Null),
            ("exp", Value::Null),
            ("nbf", json!(seconds_from_now(120))),
        ] {
            let mut claims = good.clone();
            claims[key] = value.clone();
            let payload = signed(&Header::default(), &claims);
            assert_eq!(
                code(authenticator.authenticate(&payload)),
                Code::TokenInvalid,
                "{key}: {value}"
            );
            claims.as_object_mut().unwrap().remove(key);
            if key != "nbf" {
                let payload = signed(&Header::default(), &claims);
                assert_eq!(
                    code(authenticator.authenticate(&payload)),
                    Code::TokenInvalid,
                    "no {key}"
                );
            }
        }
        for token in [
            json!(""),
            json!("a.b.c"),
            json!(5),
            json!("x".repeat(20_000)),
        ] {
            assert_eq!(
                code(authenticator.authenticate(&json!({ "token": token }))),
                Code::TokenInvalid
            );
        }
        let other_key = EncodingKey::from_secret(b"another key of more than 32 bytes.....");
        let token = jsonwebtoken::encode(&Header::default(), &good, &other_key).unwrap();
        assert_eq!(
            code(authenticator.authenticate(&json!({ "token": token }))),
            Code::TokenInvalid
        );
    }

    #[test]
    fn a_name_claim_that_is_not_allowed_is_refused() {
        let claims = json!({"sub": "u", "name": "a\nb", "exp": seconds_from_now(60)});
        let refused = authenticator(None, None).authenticate(&signed(&Header::default(), &claims));
        assert_eq!(code(refused), Code::Name);
    }

    #[test]
    fn short_and_absent_keys_are_refused_at_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789abcdef0123456789abcde\n").unwrap();
        let error = Authenticator::load(&auth(file.path(), None, None)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("holds 31 bytes; HS256 needs at least 32"),
            "{error}"
        );
        assert!(
            !format!("{error} {error:?}").contains("0123"),
            "the key is not shown"
        );
        let error = Authenticator::load(&auth(Path::new("/nowhere/key"), None, None)).unwrap_err();
        assert!(matches!(error, LoadKeyError::Read(_)));
    }
}
