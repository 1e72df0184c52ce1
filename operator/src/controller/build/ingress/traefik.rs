//! Traefik's own annotations, 3.7 and newer, of its provider `kubernetesIngress`: those of affinity stand on the Service.
//!
//! Sources: traefik, `docs/content/reference/routing-configuration/kubernetes/ingress.md` (On Ingress, On Service, TLS),
//! `pkg/provider/kubernetes/ingress/annotations_test.go` (path). Upgrades pass, and what ends a silent connection belongs
//! to the entry point (`transport.respondingTimeouts`), which no annotation reaches: see docs/ingress.md.

use std::collections::BTreeMap;

use super::{Dialect, Route, ingress, is_cookie_secure, keys};
use crate::controller::validate::{self, Validated};

const PREFIX: &str = "traefik.ingress.kubernetes.io";

pub(super) struct Traefik;

impl Dialect for Traefik {
    fn route(&self, cluster: &Validated) -> Route {
        let wish = &cluster.ingress;
        let mut annotations = BTreeMap::new();
        if wish.spec.tls_secret_ref.is_some() {
            // `spec.tls` chooses the certificate and does not make the router one of HTTPS.
            annotations.extend(keys(PREFIX, [("router.tls", "true".to_owned())]));
        }
        Route {
            ingress: Some(ingress(cluster, annotations)),
            service_annotations: if wish.is_sticky {
                affinity(wish)
            } else {
                BTreeMap::new()
            },
            ..Route::default()
        }
    }
}

fn affinity(wish: &validate::Route) -> BTreeMap<String, String> {
    let cookie = &wish.spec.affinity;
    let same_site = cookie.same_site.as_str().to_lowercase();
    let mut all = keys(
        PREFIX,
        [
            ("service.sticky.cookie", "true".to_owned()),
            ("service.sticky.cookie.name", cookie.cookie_name.clone()),
            ("service.sticky.cookie.path", "/".to_owned()),
            ("service.sticky.cookie.httponly", "true".to_owned()),
            ("service.sticky.cookie.samesite", same_site),
            (
                "service.sticky.cookie.secure",
                is_cookie_secure(wish).to_string(),
            ),
        ],
    );
    if cookie.max_age_seconds > 0 {
        let age = cookie.max_age_seconds.to_string();
        all.extend(keys(PREFIX, [("service.sticky.cookie.maxage", age)]));
    }
    all
}
