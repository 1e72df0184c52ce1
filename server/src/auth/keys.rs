//! Keys that tokens are signed with. Each is for one algorithm, from the moment it is read: what a token says about itself
//! chooses among the keys of its algorithm and can never make a public key a secret, or a secret a public key.
//!
//! No key reaches an error, a `Debug` or a log line.

mod set;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chatcluster_chat_api::{JwtAlgorithm, JwtKeys};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Header};

/// Fewer bytes than the hash has are refused (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Shorter RSA keys are refused (RFC 7518, 3.3), and longer ones the library does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The largest exponent that the library takes.
const MAX_RSA_EXPONENT: u64 = (1 << 33) - 1;

/// What is in a file cannot be used. Texts follow the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Too short to be safe.
    #[error("holds {0} bytes; HS256 needs at least 32")]
    TooShort(usize),
    /// Something public, which everybody could sign with.
    #[error(
        "holds PEM or a JSON Web Key Set, which is no secret for HS256: say which algorithm it is for"
    )]
    NotSecret,
    /// No PEM.
    #[error("holds no public key as PEM, which begins with `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// A private key.
    #[error("holds a private key: give the server the public one only")]
    Private,
    /// Several blocks.
    #[error(
        "holds more than one PEM block; several keys go into a JSON Web Key Set (auth.jwt.jwksFile)"
    )]
    Several,
    /// A key that the algorithm has no use for.
    #[error("holds no key that {0} can use{1}")]
    Unusable(&'static str, &'static str),
    /// No JSON Web Key Set.
    #[error("holds no JSON Web Key Set: an object with a list `keys`")]
    NotSet,
    /// One key of a set.
    #[error("has a problem in key {0} of its set (the first is 0): {1}")]
    InSet(usize, &'static str),
    /// None of a set's keys is for an algorithm that is allowed.
    #[error("holds no key for {0} (auth.jwt.algorithms); {1} others are left out")]
    NoneAllowed(String, usize),
}

/// All keys that count.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Tokens choose by `kid`.
    is_set: bool,
}

struct Key {
    algorithm: JwtAlgorithm,
    id: Option<String>,
    key: DecodingKey,
}

impl Keys {
    /// Reads what a file holds.
    pub(super) fn read(keys: &JwtKeys, content: &[u8]) -> Result<Self, BadKey> {
        let (keys, is_set) = match keys {
            JwtKeys::One { algorithm, .. } => {
                let key = Key {
                    algorithm: *algorithm,
                    id: None,
                    key: one(*algorithm, content)?,
                };
                (vec![key], false)
            }
            JwtKeys::Set { algorithms, .. } => (set::read(algorithms, content)?, true),
        };
        Ok(Self { keys, is_set })
    }

    /// Those that may have signed a token with this header. In a set a `kid` names one; a token without it may be signed
    /// with any key of its algorithm.
    pub(super) fn candidates<'a>(
        &'a self,
        header: &'a Header,
    ) -> impl Iterator<Item = (JwtAlgorithm, &'a DecodingKey)> {
        let is_named = |key: &Key| !self.is_set || header.kid.is_none() || key.id == header.kid;
        self.keys
            .iter()
            .filter(move |key| library(key.algorithm) == header.alg && is_named(key))
            .map(|key| (key.algorithm, &key.key))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

/// The same algorithm, as the library names it.
pub(super) fn library(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
    }
}

/// The one key of a file.
fn one(algorithm: JwtAlgorithm, content: &[u8]) -> Result<DecodingKey, BadKey> {
    let key = match algorithm {
        JwtAlgorithm::Hs256 => {
            let secret = content.strip_suffix(b"\n").unwrap_or(content);
            return secret_key(secret.strip_suffix(b"\r").unwrap_or(secret));
        }
        JwtAlgorithm::Rs256 => DecodingKey::from_rsa_pem(public_pem(content)?),
        JwtAlgorithm::Es256 => DecodingKey::from_ec_pem(public_pem(content)?),
    };
    key.map_err(|_| unusable(algorithm))
        .and_then(|key| fit(algorithm, key))
}

fn secret_key(secret: &[u8]) -> Result<DecodingKey, BadKey> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(BadKey::TooShort(secret.len()));
    }
    if is_public(secret) {
        return Err(BadKey::NotSecret);
    }
    Ok(DecodingKey::from_secret(secret))
}

/// Text that is given away: whoever has it could sign tokens, if it were taken for a secret.
fn is_public(content: &[u8]) -> bool {
    let is_set =
        || serde_json::from_slice::<serde_json::Value>(content).is_ok_and(|it| it.is_object());
    content.trim_ascii_start().starts_with(b"-----BEGIN ") || is_set()
}

/// One PEM block with a public key in it.
fn public_pem(content: &[u8]) -> Result<&[u8], BadKey> {
    let text = std::str::from_utf8(content).map_err(|_| BadKey::NotPem)?;
    let mut labels = text.split("-----BEGIN ").skip(1);
    let label = labels.next().and_then(|rest| rest.split("-----").next());
    match label {
        _ if text.contains("PRIVATE KEY-----") => Err(BadKey::Private),
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") if labels.next().is_none() => Ok(content),
        Some("PUBLIC KEY" | "RSA PUBLIC KEY") => Err(BadKey::Several),
        _ => Err(BadKey::NotPem),
    }
}

/// The key, if its algorithm can use it and it is long enough. The library looks at most keys only when it has a token.
fn fit(algorithm: JwtAlgorithm, key: DecodingKey) -> Result<DecodingKey, BadKey> {
    let is_fit = match algorithm {
        JwtAlgorithm::Hs256 => true,
        JwtAlgorithm::Rs256 => is_good_rsa(&key),
        // A point that is not on P-256 is refused here.
        JwtAlgorithm::Es256 => {
            jsonwebtoken::crypto::verify("", b"", &key, Algorithm::ES256).is_ok()
        }
    };
    is_fit.then_some(key).ok_or_else(|| unusable(algorithm))
}

fn is_good_rsa(key: &DecodingKey) -> bool {
    let Ok(jwk) = Jwk::from_decoding_key(key, Some(Algorithm::RS256)) else {
        return false;
    };
    let AlgorithmParameters::RSA(parts) = jwk.algorithm else {
        return false;
    };
    let number = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes[zeros..].to_vec())
    };
    let (Some(modulus), Some(exponent)) = (number(&parts.n), number(&parts.e)) else {
        return false;
    };
    let bits = modulus.first().map_or(0, |first| {
        modulus.len() * 8 - first.leading_zeros() as usize
    });
    let exponent = match exponent.len() {
        1..=8 => exponent
            .iter()
            .fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte)),
        _ => return false,
    };
    RSA_BITS.contains(&bits) && exponent % 2 == 1 && (3..=MAX_RSA_EXPONENT).contains(&exponent)
}

fn unusable(algorithm: JwtAlgorithm) -> BadKey {
    let wanted = match algorithm {
        JwtAlgorithm::Hs256 => "",
        JwtAlgorithm::Rs256 => ": an RSA public key of 2048 to 4096 bits",
        JwtAlgorithm::Es256 => ": a public key on the curve P-256",
    };
    BadKey::Unusable(algorithm.as_str(), wanted)
}

#[cfg(test)]
mod tests;
