//! Without anything that reads HTTP: the client Service is a load balancer, and Kubernetes sends an address to one pod.
//!
//! Source: Kubernetes, "Virtual IPs and Service Proxies" (session affinity; `externalTrafficPolicy: Local`, which lets the node see
//! the client's own address). Behind a proxy or a NAT all clients have one address, and come to one pod.

use k8s_openapi::api::core::v1::{ClientIPConfig, ServiceSpec, SessionAffinityConfig};

use super::{Dialect, Entrance, Route, Serving, serving};
use crate::controller::validate::Validated;

/// How long a node remembers where an address went; Kubernetes' own.
const MEMORY_SECONDS: i32 = 10_800;

pub(super) struct ClientIp;

impl Dialect for ClientIp {
    fn route(&self, cluster: &Validated) -> Route {
        let mut spec = ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            ..Default::default()
        };
        if cluster.ingress.is_sticky {
            spec.session_affinity = Some("ClientIP".to_owned());
            spec.session_affinity_config = Some(SessionAffinityConfig {
                client_ip: Some(ClientIPConfig {
                    timeout_seconds: Some(MEMORY_SECONDS),
                }),
            });
            spec.external_traffic_policy = Some("Local".to_owned());
        }
        Route {
            service_annotations: cluster.ingress.spec.annotations.clone(),
            service_spec: Some(spec),
            ..Route::default()
        }
    }

    fn serving(&self, entrance: &Entrance) -> Serving {
        serving::by_service(entrance)
    }
}
