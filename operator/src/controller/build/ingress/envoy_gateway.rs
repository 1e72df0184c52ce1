//! Envoy Gateway 1.3 and newer: an HTTPRoute of the Gateway API, and a BackendTrafficPolicy of Envoy Gateway for what the former
//! has no words for.
//!
//! Affinity is a consistent hash of a cookie and not the route's `sessionPersistence`, which is experimental and has another
//! form in each of the Gateway API's last releases (ADR 26). It is softer: when pods come or go, some clients' polls
//! reach another pod, and are relayed to theirs.
//!
//! Sources: Gateway API, `apis/v1/httproute_types.go`; envoyproxy/gateway, `api/v1alpha1/loadbalancer_types.go` (consistentHash),
//! `api/v1alpha1/backendtrafficpolicy_types.go` (targetRefs, httpUpgrade), the task "gRPC Timeouts" (requestTimeout: '0s'
//! ends the limit of 15 seconds) and `internal/xds/translator/route.go` (it also ends the limit on silence). A cookie attribute
//! without a value is written as its name: envoyproxy/envoy, `Utility::makeSetCookieValue`.

use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use super::{Dialect, Entrance, Route, Serving, is_cookie_secure, serving};
use crate::controller::build::meta;
use crate::controller::validate::{self, Validated};
use crate::names::ports;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const HTTP_ROUTE: &str = "HTTPRoute";
const TRAFFIC_POLICY: &str = "BackendTrafficPolicy";

pub(super) struct EnvoyGateway;

impl Dialect for EnvoyGateway {
    fn route(&self, cluster: &Validated) -> Route {
        Route {
            extensions: vec![http_route(cluster), traffic_policy(cluster)],
            ..Route::default()
        }
    }

    fn kinds(&self) -> Vec<ApiResource> {
        vec![http_routes(), traffic_policies()]
    }

    fn serving(&self, entrance: &Entrance) -> Serving {
        serving::by_route(entrance, HTTP_ROUTE, &[TRAFFIC_POLICY])
    }
}

fn http_routes() -> ApiResource {
    ApiResource {
        group: GATEWAY_API.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{GATEWAY_API}/v1"),
        kind: HTTP_ROUTE.to_owned(),
        plural: "httproutes".to_owned(),
    }
}

fn traffic_policies() -> ApiResource {
    ApiResource {
        group: "gateway.envoyproxy.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "gateway.envoyproxy.io/v1alpha1".to_owned(),
        kind: TRAFFIC_POLICY.to_owned(),
        plural: "backendtrafficpolicies".to_owned(),
    }
}

fn http_route(cluster: &Validated) -> DynamicObject {
    let wish = &cluster.ingress.spec;
    // With the defaults that an API server would add: what is there is compared with what is asked for.
    let mut parent = json!({ "group": GATEWAY_API, "kind": "Gateway" });
    if let Some(gateway) = &wish.gateway_ref {
        parent["name"] = gateway.name.clone().into();
        if let Some(namespace) = &gateway.namespace {
            parent["namespace"] = namespace.clone().into();
        }
        if let Some(section) = &gateway.section_name {
            parent["sectionName"] = section.clone().into();
        }
    }
    let service = json!({ "group": "", "kind": "Service", "name": cluster.names.own(), "port": ports::SERVICE });
    let spec = json!({
        "parentRefs": [parent],
        "hostnames": wish.host.iter().collect::<Vec<_>>(),
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
            "backendRefs": [service],
        }],
    });
    let mut route = object(cluster, &http_routes(), &spec);
    if !wish.annotations.is_empty() {
        route.metadata.annotations = Some(wish.annotations.clone());
    }
    route
}

fn traffic_policy(cluster: &Validated) -> DynamicObject {
    let target = json!({ "group": GATEWAY_API, "kind": HTTP_ROUTE, "name": cluster.names.own() });
    let mut spec = json!({
        "targetRefs": [target],
        "timeout": { "http": { "requestTimeout": "0s" } },
        "httpUpgrade": [{ "type": "websocket" }],
    });
    if cluster.ingress.is_sticky {
        let hash = json!({ "type": "Cookie", "cookie": cookie(&cluster.ingress) });
        spec["loadBalancer"] = json!({ "type": "ConsistentHash", "consistentHash": hash });
    }
    object(cluster, &traffic_policies(), &spec)
}

fn cookie(wish: &validate::Route) -> Value {
    let cookie = &wish.spec.affinity;
    let mut attributes = json!({ "Path": "/", "SameSite": cookie.same_site.as_str() });
    if is_cookie_secure(wish) {
        attributes["Secure"] = "".into();
    }
    // Without `ttl` no cookie is made; zero is a cookie that ends with the browser.
    json!({
        "name": cookie.cookie_name,
        "ttl": duration(cookie.max_age_seconds),
        "attributes": attributes,
    })
}

fn object(cluster: &Validated, kind: &ApiResource, spec: &Value) -> DynamicObject {
    let mut object = DynamicObject::new(&cluster.names.own(), kind).data(json!({ "spec": spec }));
    object.metadata = meta(cluster, cluster.names.own());
    object
}

/// As the Gateway API writes durations: numbers of at most five digits, each with its unit (GEP 2257).
fn duration(seconds: i32) -> String {
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let written: String = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if written.is_empty() {
        "0s".to_owned()
    } else {
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_form_of_the_gateway_api() {
        for (seconds, expected) in [
            (0, "0s"),
            (60, "1m"),
            (3661, "1h1m1s"),
            (31_536_000, "8760h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
