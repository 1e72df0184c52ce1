//! Annotations of the Kubernetes community's ingress-nginx. The controller was retired in March 2026; Traefik 3.7 and newer
//! read them, too (provider `kubernetesIngressNGINX`), with the affinity mode `persistent` only.
//!
//! Sources: ingress-nginx, `docs/user-guide/nginx-configuration/annotations.md` (custom timeouts, custom max body size, proxy
//! buffering, session affinity) and `docs/examples/affinity/cookie/README.md` (max-age, secure, change-on-failure); of the cap,
//! `docs/user-guide/nginx-configuration/configmap.md` (worker-shutdown-timeout). What Traefik reads of them: traefik,
//! `docs/content/reference/routing-configuration/kubernetes/ingress-nginx.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cap::Patience;
use super::{Dialect, Route, SILENCE_SECONDS, ingress, is_cookie_secure, keys};
use crate::controller::validate::{self, Validated};

const PREFIX: &str = "nginx.ingress.kubernetes.io";

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
            ..Route::default()
        }
    }

    fn cap(&self) -> Option<&'static str> {
        Some(
            "ingress-nginx ends all WebSockets 240 seconds after each reload, which any change of any Ingress can bring: \
             raise `worker-shutdown-timeout` in its ConfigMap. Traefik, which reads the same annotations, does not",
        )
    }

    fn patience(&self) -> Patience {
        Patience {
            keys: &[
                "nginx.ingress.kubernetes.io/proxy-read-timeout",
                "nginx.ingress.kubernetes.io/proxy-send-timeout",
            ],
            unit: Duration::from_secs(1),
        }
    }
}

fn proxying(wish: &validate::Route) -> BTreeMap<String, String> {
    let silence = SILENCE_SECONDS.max(wish.heartbeat_seconds).to_string();
    keys(
        PREFIX,
        [
            ("proxy-read-timeout", silence.clone()),
            ("proxy-send-timeout", silence),
            // A long-polling client sends several messages in one body; the server judges it.
            ("proxy-body-size", wish.max_payload_bytes.to_string()),
            // Events must not wait in the proxy for more.
            ("proxy-buffering", "off".to_owned()),
        ],
    )
}

fn affinity(wish: &validate::Route) -> BTreeMap<String, String> {
    let cookie = &wish.spec.affinity;
    let mut all = keys(
        PREFIX,
        [
            ("affinity", "cookie".to_owned()),
            // The other mode, balanced, moves sessions to new pods.
            ("affinity-mode", "persistent".to_owned()),
            ("session-cookie-name", cookie.cookie_name.clone()),
            ("session-cookie-path", "/".to_owned()),
            (
                "session-cookie-samesite",
                cookie.same_site.as_str().to_owned(),
            ),
            ("session-cookie-secure", is_cookie_secure(wish).to_string()),
            // A client whose pod is gone belongs to the one that takes it.
            ("session-cookie-change-on-failure", "true".to_owned()),
        ],
    );
    if cookie.max_age_seconds > 0 {
        let age = cookie.max_age_seconds.to_string();
        all.extend(keys(PREFIX, [("session-cookie-max-age", age)]));
    }
    all
}
