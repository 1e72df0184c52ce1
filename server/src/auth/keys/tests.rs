//! Which keys are taken, and which attacks on the choice of an algorithm or a key fail.

use std::time::{Duration, SystemTime};

use chatcluster_chat_api::{Auth, Jwt};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::auth::Authenticator;
use crate::codes::Code;
use JwtAlgorithm::{Es256, Hs256, Rs256};

// For these tests only; nobody else trusts them.
const RSA: &[u8] = include_bytes!("samples/rsa.public.pem");
const RSA_PKCS1: &[u8] = include_bytes!("samples/rsa.pkcs1.pem");
const RSA_1024: &[u8] = include_bytes!("samples/rsa-1024.public.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("samples/rsa.private.pem");
const P256: &[u8] = include_bytes!("samples/p256.public.pem");
const P256_PRIVATE: &[u8] = include_bytes!("samples/p256.private.pem");
const P384: &[u8] = include_bytes!("samples/p384.public.pem");
/// The keys `r` and `e`, which are the two public ones above.
const SET: &[u8] = include_bytes!("samples/jwks.json");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn rules(keys: JwtKeys) -> Auth {
    Auth::Jwt(Jwt {
        keys,
        issuer: None,
        audience: None,
        clock_skew: Duration::ZERO,
    })
}

fn with_one(algorithm: JwtAlgorithm, content: &[u8]) -> Result<Authenticator, BadKey> {
    let file = "/keys".into();
    Authenticator::with_keys(&rules(JwtKeys::One { algorithm, file }), content)
}

fn with_set(algorithms: &[JwtAlgorithm], content: &[u8]) -> Result<Authenticator, BadKey> {
    let (algorithms, file) = (algorithms.to_vec(), "/keys".into());
    Authenticator::with_keys(&rules(JwtKeys::Set { algorithms, file }), content)
}

fn set(change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut set: Value = serde_json::from_slice(SET).unwrap();
    change(set["keys"].as_array_mut().unwrap());
    set.to_string().into_bytes()
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    json!({ "sub": "u", "exp": now.unwrap().as_secs() + 60 })
}

fn token(algorithm: Algorithm, id: Option<&str>, key: &EncodingKey) -> String {
    let header = Header {
        kid: id.map(str::to_owned),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &claims(), key).unwrap()
}

fn rsa(id: Option<&str>) -> String {
    let key = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    token(Algorithm::RS256, id, &key)
}

fn p256(id: Option<&str>) -> String {
    let key = EncodingKey::from_ec_pem(P256_PRIVATE).unwrap();
    token(Algorithm::ES256, id, &key)
}

fn hmac(id: Option<&str>, secret: &[u8]) -> String {
    token(Algorithm::HS256, id, &EncodingKey::from_secret(secret))
}

fn is_let_in(authenticator: &Authenticator, token: &str) -> bool {
    match authenticator.authenticate(&json!({ "token": token })) {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.code, Code::TokenInvalid);
            false
        }
    }
}

#[test]
fn a_public_key_lets_in_what_its_private_key_signed() {
    for pem in [RSA, RSA_PKCS1] {
        let authenticator = with_one(Rs256, pem).unwrap();
        assert!(is_let_in(&authenticator, &rsa(None)));
        assert!(is_let_in(&authenticator, &rsa(Some("any"))));
        assert!(!is_let_in(&authenticator, &p256(None)));
    }
    let authenticator = with_one(Es256, P256).unwrap();
    assert!(is_let_in(&authenticator, &p256(None)));
    assert!(!is_let_in(&authenticator, &rsa(None)));
}

#[test]
fn a_public_key_is_never_a_secret() {
    let by_one = [(Rs256, RSA), (Es256, P256)];
    for (algorithm, pem) in by_one {
        let authenticator = with_one(algorithm, pem).unwrap();
        // What an attacker has who knows the public key, in each form that a careless server may hold.
        for secret in [pem, pem.trim_ascii_end()] {
            assert!(!is_let_in(&authenticator, &hmac(None, secret)));
        }
    }
    let authenticator = with_set(&[Hs256, Rs256, Es256], SET).unwrap();
    for secret in [RSA, P256, SET] {
        for id in [None, Some("r"), Some("e")] {
            assert!(!is_let_in(&authenticator, &hmac(id, secret)));
        }
    }
    for public in [
        RSA,
        P256,
        SET,
        b"\n -----BEGIN CERTIFICATE-----\nand so on".as_slice(),
    ] {
        assert_eq!(with_one(Hs256, public).unwrap_err(), BadKey::NotSecret);
    }
    let as_secret =
        json!({ "keys": [{ "kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(RSA) }] });
    let refused = with_set(&[Hs256], as_secret.to_string().as_bytes()).unwrap_err();
    assert!(matches!(refused, BadKey::InSet(0, _)), "{refused}");
}

#[test]
fn a_secret_is_never_a_public_key_and_nothing_is_taken_unsigned() {
    let authenticator = with_one(Hs256, SECRET).unwrap();
    assert!(is_let_in(&authenticator, &hmac(None, SECRET)));
    for other in [rsa(None), p256(None)] {
        assert!(!is_let_in(&authenticator, &other));
    }
    let sets = [
        with_set(&[Rs256, Es256], SET).unwrap(),
        with_one(Rs256, RSA).unwrap(),
        authenticator,
    ];
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        for id in [Value::Null, json!("r")] {
            let header = json!({ "alg": algorithm, "kid": id, "typ": "JWT" });
            let unsigned = format!("{}.{}", encode(&header), encode(&claims()));
            let signature = rsa(Some("r")).rsplit('.').next().unwrap().to_owned();
            for authenticator in &sets {
                for end in ["", ".", &format!(".{signature}")] {
                    assert!(!is_let_in(authenticator, &format!("{unsigned}{end}")));
                }
            }
        }
    }
}

#[test]
fn other_hashes_of_the_same_key_are_refused() {
    let authenticator = with_set(&[Rs256, Es256], SET).unwrap();
    let key = EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap();
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        assert!(!is_let_in(
            &authenticator,
            &token(algorithm, Some("r"), &key)
        ));
    }
}

#[test]
fn a_token_chooses_a_key_by_its_id_among_those_of_its_algorithm() {
    let secret = json!({ "kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let content = set(|keys| keys.push(secret));
    let authenticator = with_set(&[Hs256, Rs256, Es256], &content).unwrap();
    let signed = |id| [hmac(id, SECRET), rsa(id), p256(id)];
    let let_in = |id| signed(id).map(|token| is_let_in(&authenticator, &token));
    assert_eq!(let_in(Some("s")), [true, false, false]);
    assert_eq!(let_in(Some("r")), [false, true, false]);
    assert_eq!(let_in(Some("e")), [false, false, true]);
    assert_eq!(let_in(Some("")), [false; 3]);
    assert_eq!(let_in(None), [true; 3]);
}

#[test]
fn two_secrets_count_beside_each_other_with_and_without_ids() {
    let key = |id: Option<&str>, secret: &[u8]| json!({ "kty": "oct", "kid": id, "k": URL_SAFE_NO_PAD.encode(secret) });
    let other = b"fedcba9876543210fedcba9876543210";
    for ids in [[Some("old"), Some("new")], [None, None]] {
        let content = json!({ "keys": [key(ids[0], SECRET), key(ids[1], other)] }).to_string();
        let authenticator = with_set(&[Hs256], content.as_bytes()).unwrap();
        for secret in [SECRET, other] {
            assert!(is_let_in(&authenticator, &hmac(None, secret)));
        }
        assert!(!is_let_in(
            &authenticator,
            &hmac(None, b"neither of the two, and longer than 32")
        ));
        assert_eq!(
            is_let_in(&authenticator, &hmac(Some("new"), other)),
            ids[1].is_some()
        );
    }
}

#[test]
fn keys_that_are_not_allowed_or_for_something_else_are_left_out() {
    let authenticator = with_set(&[Es256], SET).unwrap();
    assert!(is_let_in(&authenticator, &p256(Some("e"))));
    assert!(!is_let_in(&authenticator, &rsa(Some("r"))));
    for (field, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RS512")),
        ("alg", json!("RSA-OAEP")),
    ] {
        let content = set(|keys| keys[0][field] = value.clone());
        let authenticator = with_set(&[Rs256, Es256], &content).unwrap();
        assert!(is_let_in(&authenticator, &p256(Some("e"))));
        assert!(
            !is_let_in(&authenticator, &rsa(Some("r"))),
            "{field}: {value}"
        );
    }
    let content = set(|keys| {
        keys.push(json!({ "kty": "OKP", "crv": "Ed25519", "x": "abc" }));
        keys.push(json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "..." }));
    });
    with_set(&[Rs256], &content).unwrap();
    assert_eq!(
        with_set(&[Hs256], SET).unwrap_err().to_string(),
        "holds no key for HS256 (auth.jwt.algorithms); 2 others are left out"
    );
}

#[test]
fn a_set_that_contradicts_itself_is_refused_as_a_whole() {
    let modulus = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
    for (what, content) in [
        ("alg and kty", set(|keys| keys[0]["alg"] = json!("HS256"))),
        ("private key", set(|keys| keys[0]["d"] = json!("abc"))),
        ("same kid", set(|keys| keys.push(keys[1].clone()))),
        ("kid is no text", set(|keys| keys[0]["kid"] = json!(1))),
        (
            "2048 to 4096",
            set(|keys| keys[0]["n"] = json!(modulus(255))),
        ),
        (
            "2048 to 4096",
            set(|keys| keys[0]["n"] = json!(modulus(513))),
        ),
        ("2048 to 4096", set(|keys| keys[0]["e"] = json!("AQ"))),
        ("2048 to 4096", set(|keys| keys[0]["e"] = json!("AQAA"))),
        ("P-256", set(|keys| keys[1]["y"] = keys[1]["x"].clone())),
        ("well-formed", set(|keys| keys[0]["n"] = json!("?"))),
        (
            "well-formed",
            set(|keys| drop(keys[0].as_object_mut().unwrap().remove("e"))),
        ),
        (
            "32 bytes",
            set(|keys| keys[0] = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("short") })),
        ),
    ] {
        let refused = with_set(&[Hs256, Rs256, Es256], &content).unwrap_err();
        assert!(matches!(refused, BadKey::InSet(..)), "{what}: {refused}");
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
    for content in [b"".as_slice(), b"[]", b"{}", b"{\"keys\": 1}", RSA] {
        assert_eq!(with_set(&[Rs256], content).unwrap_err(), BadKey::NotSet);
    }
    let many = set(|keys| {
        let key = keys[0].clone();
        keys.extend((0..40).map(|id| {
            let mut key = key.clone();
            key["kid"] = json!(id.to_string());
            key
        }));
    });
    assert!(with_set(&[Rs256], &many).is_err());
}

#[test]
fn a_file_for_one_key_holds_one_that_its_algorithm_can_use() {
    let two = [RSA, RSA].concat();
    for (algorithm, content, expected) in [
        (Rs256, RSA_PRIVATE, BadKey::Private),
        (Es256, P256_PRIVATE, BadKey::Private),
        (Rs256, SECRET, BadKey::NotPem),
        (Rs256, &two, BadKey::Several),
        (Rs256, RSA_1024, unusable(Rs256)),
        (Rs256, P256, unusable(Rs256)),
        (Es256, P384, unusable(Es256)),
        (Es256, RSA, unusable(Es256)),
        (Hs256, &SECRET[1..], BadKey::TooShort(31)),
        (
            Rs256,
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            unusable(Rs256),
        ),
    ] {
        let refused = with_one(algorithm, content).unwrap_err();
        assert_eq!(refused, expected, "{algorithm:?}");
        assert!(
            !refused.to_string().contains("0123"),
            "the key is not shown"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_content_makes_the_reader_panic(text in "[-a-zA-Z0-9:{}\\[\\]\", \n]{0,200}") {
        for algorithm in [Hs256, Rs256, Es256] {
            let _read = with_one(algorithm, text.as_bytes());
            let _read = with_set(&[algorithm], text.as_bytes());
        }
    }
}
