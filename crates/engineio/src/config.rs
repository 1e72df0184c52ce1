//! The settings of an engine and what must hold of them.

use std::time::Duration;

use http::HeaderValue;

use crate::session::heartbeat::MOST_WAITS;
use crate::sid_tag::SidTag;

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Config {
    /// The path that is served, with and without the trailing slash.
    pub path: String,
    /// The time from a pong to the next ping.
    pub ping_interval: Duration,
    /// The time in which a ping must be answered.
    pub ping_timeout: Duration,
    /// The time in which an upgrade to WebSocket must be completed.
    pub upgrade_timeout: Duration,
    /// The longest POST body, WebSocket message and, where it can be sliced, polling response. In bytes.
    pub max_payload: usize,
    /// The most bytes that wait for one client before [`crate::SendError::Full`].
    pub max_send_queue: usize,
    /// Which transports are allowed.
    pub transports: Transports,
    /// Whether a polling session may change to WebSocket.
    pub allow_upgrades: bool,
    /// Cross-origin requests; `None` sends no CORS headers.
    pub cors: Option<Cors>,
    /// The name of a cookie that carries the session id, set by polling handshakes only.
    pub cookie: Option<String>,
    /// What session ids begin with, where several engines serve one address. Ids with another tag are unknown.
    pub sid_tag: Option<SidTag>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/engine.io/".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
            max_send_queue: 4 << 20,
            transports: Transports::default(),
            allow_upgrades: true,
            cors: None,
            cookie: None,
            sid_tag: None,
        }
    }
}

/// Which transports are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// HTTP long-polling.
    pub polling: bool,
    /// WebSocket.
    pub websocket: bool,
}

impl Default for Transports {
    fn default() -> Self {
        Self {
            polling: true,
            websocket: true,
        }
    }
}

/// How cross-origin requests are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    /// Which origins may read the answers.
    pub origins: Origins,
    /// Whether cookies and authorization may be sent along.
    pub credentials: bool,
    /// How long a browser may remember a preflight.
    pub max_age: Option<Duration>,
}

/// Which origins may read the answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// Every origin, answered with `*`.
    #[default]
    Any,
    /// Every origin, answered with the origin itself, so that credentials work.
    Mirror,
    /// These origins, compared byte by byte, for example `https://chat.example`.
    List(Vec<String>),
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The path is not an absolute path.
    #[error("path must start with a slash and hold no query, got {0:?}")]
    Path(String),
    /// A duration is out of range.
    #[error("{0} must lie between 1 ms and 24 h")]
    Duration(&'static str),
    /// A size is out of range.
    #[error("{name} must lie between {least} and {most} bytes")]
    Size {
        /// The setting.
        name: &'static str,
        /// The least value.
        least: usize,
        /// The greatest value.
        most: usize,
    },
    /// Neither transport is allowed.
    #[error("at least one transport must be allowed")]
    Transports,
    /// The cookie's name cannot be sent.
    #[error("cookie must be a token of RFC 6265, got {0:?}")]
    Cookie(String),
    /// Browsers refuse this combination.
    #[error("cors: credentials need a list of origins, or mirrored ones, not any")]
    AnyOriginWithCredentials,
    /// An origin that can never match.
    #[error("cors: an origin is scheme://host[:port] without a path, got {0:?}")]
    Origin(String),
}

const LEAST_PAYLOAD: usize = 128;
const MOST_BYTES: usize = 1 << 30;

impl Config {
    /// How long a connection may be dead, at most, before it is closed: an interval, and as many timeouts as a ping's
    /// deadline waits while the connection is not read, and one for a timer that was held up.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let waits = u32::try_from(MOST_WAITS).unwrap_or(u32::MAX) + 1;
        self.ping_interval
            .saturating_add(self.ping_timeout.saturating_mul(waits))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            return Err(ConfigError::Path(self.path.clone()));
        }
        for (name, value) in [
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("upgrade_timeout", self.upgrade_timeout),
        ] {
            if value < Duration::from_millis(1) || value > Duration::from_secs(24 * 3600) {
                return Err(ConfigError::Duration(name));
            }
        }
        for (name, value) in [
            ("max_payload", self.max_payload),
            ("max_send_queue", self.max_send_queue),
        ] {
            if !(LEAST_PAYLOAD..=MOST_BYTES).contains(&value) {
                return Err(ConfigError::Size {
                    name,
                    least: LEAST_PAYLOAD,
                    most: MOST_BYTES,
                });
            }
        }
        if !self.transports.polling && !self.transports.websocket {
            return Err(ConfigError::Transports);
        }
        if let Some(cookie) = &self.cookie
            && !is_token(cookie)
        {
            return Err(ConfigError::Cookie(cookie.clone()));
        }
        self.cors.as_ref().map_or(Ok(()), Cors::check)
    }

    /// Whether a polling session is told that it may change to WebSocket.
    pub(crate) fn offers_upgrade(&self) -> bool {
        self.allow_upgrades && self.transports.websocket
    }
}

impl Cors {
    fn check(&self) -> Result<(), ConfigError> {
        match &self.origins {
            Origins::Any if self.credentials => Err(ConfigError::AnyOriginWithCredentials),
            Origins::Any | Origins::Mirror => Ok(()),
            Origins::List(origins) => match origins.iter().find(|origin| !is_origin(origin)) {
                Some(origin) => Err(ConfigError::Origin(origin.clone())),
                None => Ok(()),
            },
        }
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_origin(origin: &str) -> bool {
    let has_host = origin.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '*'])
    });
    has_host && HeaderValue::from_str(origin).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn the_default_is_usable() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn each_bad_setting_is_named() {
        assert!(matches!(
            check(|c| c.path = "x".into()),
            Err(ConfigError::Path(_))
        ));
        assert_eq!(
            check(|c| c.ping_timeout = Duration::ZERO),
            Err(ConfigError::Duration("ping_timeout"))
        );
        assert!(matches!(
            check(|c| c.max_payload = 0),
            Err(ConfigError::Size {
                name: "max_payload",
                ..
            })
        ));
        assert_eq!(
            check(|c| c.transports = Transports {
                polling: false,
                websocket: false
            }),
            Err(ConfigError::Transports)
        );
        assert!(matches!(
            check(|c| c.cookie = Some("a b".into())),
            Err(ConfigError::Cookie(_))
        ));
    }

    #[test]
    fn any_origin_does_not_go_with_credentials() {
        let cors = |origins, credentials| {
            Some(Cors {
                origins,
                credentials,
                max_age: None,
            })
        };
        assert_eq!(
            check(|c| c.cors = cors(Origins::Any, true)),
            Err(ConfigError::AnyOriginWithCredentials)
        );
        assert_eq!(check(|c| c.cors = cors(Origins::Mirror, true)), Ok(()));
        let list = |origin: &str| Origins::List(vec![origin.to_owned()]);
        assert_eq!(
            check(|c| c.cors = cors(list("https://chat.example"), true)),
            Ok(())
        );
        assert!(matches!(
            check(|c| c.cors = cors(list("chat.example/"), true)),
            Err(ConfigError::Origin(_))
        ));
    }
}
