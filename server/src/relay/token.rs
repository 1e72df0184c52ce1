//! The peer secret, and the token made of it: what lets a request into another server's entrance.
//!
//! The token names the one server that it is for, so that an address that has passed to somebody else learns nothing that
//! opens a third one; the secret itself never leaves the process.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcluster_engineio::SidTag;
use hmac::{Hmac, Mac};
use http::HeaderValue;
use sha2::Sha256;

/// The form of a hop: of the token, and of what a request holds beside it.
const VERSION: &str = "v1.";

/// The peer secret. No `Debug`.
#[derive(Clone)]
pub(super) struct Secret(Hmac<Sha256>);

impl Secret {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("a key of any length will do"))
    }

    fn mac(&self, tag: SidTag) -> Hmac<Sha256> {
        let text = format!("chatcluster relay {VERSION}{tag}");
        self.0.clone().chain_update(text)
    }

    /// What a request to the server with this tag shows.
    pub(super) fn token(&self, tag: SidTag) -> HeaderValue {
        let mac = self.mac(tag).finalize().into_bytes();
        let text = format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(mac));
        let mut token = HeaderValue::try_from(text).expect("base64url is a header's text");
        token.set_sensitive(true);
        token
    }

    /// Whether a request for the server with this tag comes from somebody who has the secret. Takes the same time for every
    /// token of the right length.
    pub(super) fn admits(&self, tag: SidTag, token: Option<&HeaderValue>) -> bool {
        let mac = token
            .and_then(|token| token.to_str().ok())
            .and_then(|token| token.strip_prefix(VERSION))
            .and_then(|mac| URL_SAFE_NO_PAD.decode(mac).ok());
        mac.is_some_and(|mac| self.mac(tag).verify_slice(&mac).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_the_one_server_that_it_is_for() {
        let secret = Secret::new(b"0123456789abcdef");
        let (tag, other) = (SidTag::random(), SidTag::random());
        let token = secret.token(tag);
        assert!(secret.admits(tag, Some(&token)));
        assert!(!secret.admits(other, Some(&token)));
        assert!(!Secret::new(b"0123456789abcdeF").admits(tag, Some(&token)));
        assert!(!format!("{token:?}").contains("v1"));
    }

    #[test]
    fn the_token_is_what_servers_of_other_releases_show() {
        let secret = Secret::new(b"0123456789abcdef");
        let token = secret.token(SidTag::parse("AAAAAAAA").unwrap());
        assert_eq!(token, "v1.TrmZ4-02bqIJNRy3G4Roew4gQNYUXM-JaZMJ-BSHJMs");
    }

    #[test]
    fn what_is_no_token_opens_nothing() {
        let secret = Secret::new(b"0123456789abcdef");
        let tag = SidTag::random();
        assert!(!secret.admits(tag, None));
        let token = secret.token(tag);
        let token = token.to_str().unwrap();
        for wrong in [
            "",
            "v1.",
            "v1.AAAA",
            &token[..45],
            &token[3..],
            "0123456789abcdef",
        ] {
            let wrong = HeaderValue::from_str(wrong).unwrap();
            assert!(!secret.admits(tag, Some(&wrong)), "{wrong:?}");
        }
    }
}
