//! The request that opened a session, copied into one compact allocation.
//!
//! Header values and the URI of a request are slices of the connection's read buffer; keeping any of them would keep
//! 16 KiB alive for each session.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use http::{HeaderMap, Uri};

use crate::query;

/// The request that opened a session.
pub struct Handshake {
    /// `uri\nname:value\nname:value\n...`; neither part can hold a line feed.
    head: Box<str>,
    remote_addr: SocketAddr,
    issued: SystemTime,
    is_secure: bool,
}

impl Handshake {
    pub(crate) fn new(uri: &Uri, headers: &HeaderMap, remote_addr: SocketAddr) -> Self {
        let path_and_query = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let mut head = String::with_capacity(512);
        head.push_str(path_and_query);
        for (name, value) in headers {
            head.push('\n');
            head.push_str(name.as_str());
            head.push(':');
            head.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        let is_secure = uri.scheme_str() == Some("https")
            || headers
                .get("x-forwarded-proto")
                .is_some_and(|proto| proto.as_bytes().starts_with(b"https"));
        Self {
            head: head.into_boxed_str(),
            remote_addr,
            issued: SystemTime::now(),
            is_secure,
        }
    }

    /// The path and query.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.head.split('\n').next().unwrap_or_default()
    }

    /// The headers, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head
            .split('\n')
            .skip(1)
            .filter_map(|line| line.split_once(':'))
    }

    /// The first header of this name, whose case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first query parameter of this name, decoded.
    #[must_use]
    pub fn query(&self, key: &str) -> Option<Cow<'_, str>> {
        let (_, query) = self.uri().split_once('?')?;
        query::first(query, key)
    }

    /// All query parameters, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        query::pairs(self.uri().split_once('?').map_or("", |(_, query)| query))
    }

    /// The address of the peer of the TCP connection.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    /// When the request arrived.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Whether the client came over TLS, as the URI or `X-Forwarded-Proto` says.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// No headers and no query: they hold tokens and cookies.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("remote_addr", &self.remote_addr)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=b; c=d:e".parse().unwrap());
        headers.insert(
            "x-binary",
            http::HeaderValue::from_bytes(&[0xff, b'x']).unwrap(),
        );
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        let uri = "/engine.io/?EIO=4&token=a%20b".parse().unwrap();
        Handshake::new(&uri, &headers, "192.0.2.1:7".parse().unwrap())
    }

    #[test]
    fn the_request_can_be_asked_for_its_parts() {
        let handshake = handshake();
        assert_eq!(handshake.uri(), "/engine.io/?EIO=4&token=a%20b");
        assert_eq!(handshake.header("Cookie"), Some("a=b; c=d:e"));
        assert_eq!(handshake.header("absent"), None);
        assert_eq!(handshake.headers().count(), 3);
        assert_eq!(handshake.query("token").as_deref(), Some("a b"));
        assert_eq!(handshake.query("sid"), None);
        assert!(handshake.is_secure());
    }

    #[test]
    fn debug_output_does_not_reveal_cookies_or_tokens() {
        let text = format!("{:?}", handshake());
        assert!(!text.contains("c=d") && !text.contains("token"), "{text}");
    }
}
