//! The opening handshake of RFC 6455, section 4.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;

/// Whether a request with these headers asks for a WebSocket.
#[must_use]
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket")
        && has_token(headers, header::CONNECTION, "upgrade")
}

/// The value of `Sec-WebSocket-Accept`; `None` if the handshake is broken.
pub(crate) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.get(header::SEC_WEBSOCKET_VERSION)?.as_bytes() != b"13" {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    if STANDARD.decode(key).ok()?.len() != KEY_BYTES {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).ok()
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(changes: &[(&'static str, Option<&'static str>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", "WebSocket".parse().unwrap());
        headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
        headers.insert("sec-websocket-version", "13".parse().unwrap());
        headers.insert(
            "sec-websocket-key",
            "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap(),
        );
        for (name, value) in changes {
            headers.remove(*name);
            if let Some(value) = value {
                headers.insert(*name, value.parse().unwrap());
            }
        }
        headers
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert!(is_upgrade(&request(&[])));
        assert_eq!(
            accept(&request(&[])).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn broken_handshakes_are_not_accepted() {
        assert!(!is_upgrade(&request(&[("connection", Some("keep-alive"))])));
        assert!(!is_upgrade(&request(&[("upgrade", Some("h2c"))])));
        assert_eq!(
            accept(&request(&[("sec-websocket-version", Some("8"))])),
            None
        );
        assert_eq!(accept(&request(&[("sec-websocket-key", None)])), None);
        assert_eq!(
            accept(&request(&[("sec-websocket-key", Some("AAAA"))])),
            None
        );
    }
}
