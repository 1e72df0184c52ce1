//! Annotations of the Kubernetes community's ingress-nginx. The controller was retired in March 2026; Traefik 3.7 and newer
//! read them, too (provider `kubernetesIngressNGINX`), with the affinity mode `persistent` only.
//!
//! Source of the keys: ingress-nginx, `docs/user-guide/nginx-configuration/annotations.md`.

use std::collections::BTreeMap;

use super::{Dialect, Route, ingress};
use crate::controller::validate::{self, Validated};
use chatcluster_chat_api::cluster::{AffinitySpec, SecureCookie};

const PREFIX: &str = "nginx.ingress.kubernetes.io";
/// How long the proxy keeps a WebSocket on which nothing is said; heartbeats come far more often.
const SILENCE_SECONDS: i32 = 3600;

pub(super) struct Nginx;

impl Dialect for Nginx {
    fn route(&self, cluster: &Validated) -> Route {
        let wish = &cluster.ingress;
        let mut annotations = proxying(wish);
        if wish.is_sticky {
            annotations.extend(affinity(wish));
        }
        Route {
            ingress: Some(ingress(cluster, annotations)),
            service_annotations: BTreeMap::new(),
        }
    }
}

fn proxying(wish: &validate::Route) -> BTreeMap<String, String> {
    let silence = SILENCE_SECONDS.max(wish.heartbeat_seconds).to_string();
    keys([
        ("proxy-read-timeout", silence.clone()),
        ("proxy-send-timeout", silence),
        // A long-polling client sends several messages in one body; the server judges it.
        ("proxy-body-size", wish.max_payload_bytes.to_string()),
        // Events must not wait in the proxy for more.
        ("proxy-buffering", "off".to_owned()),
    ])
}

fn affinity(wish: &validate::Route) -> BTreeMap<String, String> {
    let AffinitySpec {
        cookie_name,
        max_age_seconds,
        same_site,
        secure,
    } = &wish.spec.affinity;
    let is_secure = match secure {
        SecureCookie::Auto => wish.spec.tls_secret_ref.is_some(),
        SecureCookie::Always => true,
        SecureCookie::Never => false,
    };
    let mut all = keys([
        ("affinity", "cookie".to_owned()),
        // The other mode, balanced, moves sessions to new pods.
        ("affinity-mode", "persistent".to_owned()),
        ("session-cookie-name", cookie_name.clone()),
        ("session-cookie-path", "/".to_owned()),
        ("session-cookie-samesite", same_site.as_str().to_owned()),
        ("session-cookie-secure", is_secure.to_string()),
        // A client whose pod is gone belongs to the one that takes it.
        ("session-cookie-change-on-failure", "true".to_owned()),
    ]);
    if *max_age_seconds > 0 {
        all.extend(keys([(
            "session-cookie-max-age",
            max_age_seconds.to_string(),
        )]));
    }
    all
}

fn keys<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (format!("{PREFIX}/{key}"), value))
        .collect()
}
