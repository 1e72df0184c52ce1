//! A JSON Web Key Set (RFC 7517): of all that an issuer publishes, the keys that this server may use.

use chatcluster_chat_api::JwtAlgorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;

use super::{BadKey, Key, fit};

/// More keys than any rotation needs. A token without a `kid` is tried with each of its algorithm.
const MOST: usize = 32;

/// The keys for these algorithms. Keys for others, or for something else than signatures, are left out; one that
/// contradicts itself makes the whole set unusable.
pub(super) fn read(allowed: &[JwtAlgorithm], content: &[u8]) -> Result<Vec<Key>, BadKey> {
    let set: Value = serde_json::from_slice(content).map_err(|_| BadKey::NotSet)?;
    let all = set["keys"].as_array().ok_or(BadKey::NotSet)?;
    let mut keys: Vec<Key> = Vec::new();
    for (index, jwk) in all.iter().enumerate() {
        let wrong = |what| BadKey::InSet(index, what);
        let Some(algorithm) = algorithm(jwk).map_err(wrong)? else {
            continue;
        };
        if !allowed.contains(&algorithm) {
            continue;
        }
        let key = key(algorithm, jwk).map_err(wrong)?;
        let is_same = |other: &Key| other.id == key.id && other.algorithm == key.algorithm;
        if key.id.is_some() && keys.iter().any(is_same) {
            return Err(wrong("another key has the same kid"));
        }
        if keys.len() == MOST {
            return Err(wrong("there are more than 32 keys"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        let names: Vec<&str> = allowed.iter().map(|one| one.as_str()).collect();
        return Err(BadKey::NoneAllowed(names.join(", "), all.len()));
    }
    Ok(keys)
}

/// What a key is for, if that is something known: by its kind, which its `alg` must not contradict.
fn algorithm(jwk: &Value) -> Result<Option<JwtAlgorithm>, &'static str> {
    let operations = jwk["key_ops"].as_array();
    let verifies = operations.is_none_or(|all| all.iter().any(|one| one == "verify"));
    let is_for_signatures = jwk["use"].as_str().is_none_or(|purpose| purpose == "sig");
    let by_kind = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
        (Some("oct"), _) => JwtAlgorithm::Hs256,
        (Some("RSA"), _) => JwtAlgorithm::Rs256,
        (Some("EC"), Some("P-256")) => JwtAlgorithm::Es256,
        _ => return Ok(None),
    };
    if !verifies || !is_for_signatures {
        return Ok(None);
    }
    match jwk["alg"].as_str() {
        None => Ok(Some(by_kind)),
        Some(named) if named == by_kind.as_str() => Ok(Some(by_kind)),
        Some("HS256" | "RS256" | "ES256") => Err("alg and kty contradict each other"),
        Some(_) => Ok(None),
    }
}

fn key(algorithm: JwtAlgorithm, jwk: &Value) -> Result<Key, &'static str> {
    let id = match &jwk["kid"] {
        Value::Null => None,
        Value::String(id) => Some(id.clone()),
        _ => return Err("kid is no text"),
    };
    if algorithm != JwtAlgorithm::Hs256 && !jwk["d"].is_null() {
        return Err("it is a private key: give the server the public one only");
    }
    let parsed: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| "it is not well-formed")?;
    let key = DecodingKey::from_jwk(&parsed).map_err(|_| "it is not well-formed")?;
    let key = match algorithm {
        JwtAlgorithm::Hs256 => {
            let secret = key
                .try_get_as_bytes()
                .map_err(|_| "it is not well-formed")?;
            super::secret_key(secret)
                .map_err(|_| "it is no secret of 32 bytes or more that is neither PEM nor JSON")?
        }
        JwtAlgorithm::Rs256 => {
            fit(algorithm, key).map_err(|_| "it is no RSA public key of 2048 to 4096 bits")?
        }
        JwtAlgorithm::Es256 => {
            fit(algorithm, key).map_err(|_| "it is no public key on the curve P-256")?
        }
    };
    Ok(Key { algorithm, id, key })
}
