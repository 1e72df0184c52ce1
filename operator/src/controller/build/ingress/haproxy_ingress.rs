//! Annotations of the community's haproxy-ingress, 0.14 and newer.
//!
//! Source: jcmoraisjr/haproxy-ingress, `docs/content/en/docs/configuration/keys.md` (affinity; timeout, with `timeout-stop` of the
//! cap). Keys of the scope `Backend` may stand on the Ingress; `timeout-client` and `timeout-stop` are `Global`, the
//! ConfigMap's. What `session-cookie-keywords` may say: HAProxy's `cookie` (`secure`, `attr`, the latter since 2.2).

use std::collections::BTreeMap;
use std::time::Duration;

use super::cap::Patience;
use super::{Dialect, Route, SILENCE_SECONDS, ingress, is_cookie_secure, keys};
use crate::controller::validate::{self, Validated};
use chatcluster_chat_api::cluster::SameSite;

const PREFIX: &str = "haproxy-ingress.github.io";
/// The controller's own is 50 seconds.
const LEAST_SECONDS: i32 = 60;

pub(super) struct HaProxyIngress;

impl Dialect for HaProxyIngress {
    fn route(&self, cluster: &Validated) -> Route {
        let wish = &cluster.ingress;
        let mut annotations = timeouts(wish);
        if wish.is_sticky {
            annotations.extend(affinity(wish));
        }
        Route {
            ingress: Some(ingress(cluster, annotations)),
            ..Route::default()
        }
    }

    fn cap(&self) -> Option<&'static str> {
        Some(
            "haproxy-ingress ends all connections of before a reload 10 minutes after it: raise `timeout-stop` in its \
             ConfigMap, and spread the end with `close-sessions-duration`",
        )
    }

    fn patience(&self) -> Patience {
        Patience {
            keys: &[
                "haproxy-ingress.github.io/timeout-server",
                "haproxy-ingress.github.io/timeout-tunnel",
            ],
            unit: Duration::from_millis(1),
        }
    }
}

fn timeouts(wish: &validate::Route) -> BTreeMap<String, String> {
    // A poll is answered when there is something to say, or with the next heartbeat.
    let server = LEAST_SECONDS.max(wish.heartbeat_seconds);
    let tunnel = SILENCE_SECONDS.max(wish.heartbeat_seconds);
    keys(
        PREFIX,
        [
            ("timeout-server", format!("{server}s")),
            ("timeout-tunnel", format!("{tunnel}s")),
        ],
    )
}

fn affinity(wish: &validate::Route) -> BTreeMap<String, String> {
    let cookie = &wish.spec.affinity;
    let mut all = keys(
        PREFIX,
        [
            ("affinity", "cookie".to_owned()),
            ("session-cookie-name", cookie.cookie_name.clone()),
            ("session-cookie-strategy", "insert".to_owned()),
            // All replicas of the controller give a pod the same cookie.
            ("session-cookie-dynamic", "true".to_owned()),
            ("session-cookie-keywords", keywords(wish)),
        ],
    );
    if cookie.same_site == SameSite::None {
        // Adds `SameSite=None` and `Secure`.
        let pair = ("session-cookie-same-site", "true".to_owned());
        all.extend(keys(PREFIX, [pair]));
    }
    all
}

fn keywords(wish: &validate::Route) -> String {
    let cookie = &wish.spec.affinity;
    let mut words = vec!["indirect nocache httponly".to_owned()];
    if cookie.same_site != SameSite::None {
        words.push(format!("attr SameSite={}", cookie.same_site.as_str()));
        if is_cookie_secure(wish) {
            words.push("secure".to_owned());
        }
    }
    if cookie.max_age_seconds > 0 {
        words.push(format!("attr Max-Age={}", cookie.max_age_seconds));
    }
    words.join(" ")
}
