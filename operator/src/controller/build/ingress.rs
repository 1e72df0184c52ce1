//! How clients come in, in the words of each controller: one file per dialect.
//!
//! A new dialect is a new file here, a value of `IngressController` in `chat_api` (with the keys of affinity that users leave
//! alone), and a line in [`dialect`]. Nobody else knows a dialect by name: what is read, written, watched, judged and warned
//! of is asked of the trait. Where a key sits differs: some controllers read the Ingress, others the Service behind it,
//! others objects of their own, so a dialect answers for all of them.

mod cap;
mod client_ip;
mod envoy_gateway;
mod haproxy_ingress;
mod haproxy_tech;
mod nginx;
mod none;
mod serving;
#[cfg(test)]
mod tests;
mod traefik;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};
use kube::core::{ApiResource, DynamicObject};

use super::meta;
use crate::controller::validate::{self, Validated};
use crate::names::ports;
pub(crate) use cap::cap;
use chatcluster_chat_api::cluster::{IngressController, SecureCookie};
pub(crate) use serving::{Entrance, Serving};

/// How long a proxy keeps a connection on which nothing is said, where it may be told; heartbeats come far more often.
const SILENCE_SECONDS: i32 = 3600;

/// What leads clients to the Service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    pub(crate) ingress: Option<Ingress>,
    /// Objects of the kinds in [`Dialect::kinds`].
    pub(crate) extensions: Vec<DynamicObject>,
    /// What the dialect wants on the client Service,
    pub(crate) service_annotations: BTreeMap<String, String>,
    /// and in its spec.
    pub(crate) service_spec: Option<ServiceSpec>,
}

/// The words of one controller. Pure: from what is wished to objects, and from objects to what they say.
pub(crate) trait Dialect: Sync {
    /// What leads clients to the Service `cluster.names.own()`.
    fn route(&self, cluster: &Validated) -> Route;

    /// Kinds beyond the Ingress that it makes. They are not Kubernetes' own: an API server may not know them.
    fn kinds(&self) -> Vec<ApiResource> {
        Vec::new()
    }

    /// Whether somebody serves what was made.
    fn serving(&self, entrance: &Entrance) -> Serving {
        serving::by_ingress(entrance)
    }

    /// What ends connections that are well, as long as its controller is left as it comes.
    fn cap(&self) -> Option<&'static str> {
        None
    }

    /// The user's annotations that may make it impatient with silence.
    fn patience(&self) -> cap::Patience {
        cap::Patience::default()
    }
}

pub(crate) fn dialect(controller: IngressController) -> &'static dyn Dialect {
    match controller {
        IngressController::None => &none::None,
        IngressController::Nginx => &nginx::Nginx,
        IngressController::Traefik => &traefik::Traefik,
        IngressController::HaProxyTech => &haproxy_tech::HaProxyTech,
        IngressController::HaProxyIngress => &haproxy_ingress::HaProxyIngress,
        IngressController::EnvoyGateway => &envoy_gateway::EnvoyGateway,
        IngressController::ClientIp => &client_ip::ClientIp,
    }
}

/// The kinds of all dialects: after a change from one to another, the objects of the old one must be found.
pub(crate) fn kinds() -> Vec<ApiResource> {
    let mut all = Vec::new();
    for kind in IngressController::ALL
        .into_iter()
        .flat_map(|one| dialect(one).kinds())
    {
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    all
}

/// The Ingress that dialects share, with their annotations. The user's stand over them: time-outs may be changed, and the
/// schema refuses keys of affinity.
fn ingress(cluster: &Validated, mut annotations: BTreeMap<String, String>) -> Ingress {
    let validate::Route { spec, .. } = &cluster.ingress;
    annotations.extend(spec.annotations.clone());
    let mut metadata = meta(cluster, cluster.names.own());
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    let service = IngressServiceBackend {
        name: cluster.names.own(),
        port: Some(ServiceBackendPort {
            name: Some(ports::CLIENTS_NAME.to_owned()),
            number: None,
        }),
    };
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(service),
            resource: None,
        },
    };
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: spec.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: spec.host.clone(),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls: spec.tls_secret_ref.as_ref().map(|secret| {
                vec![IngressTLS {
                    hosts: spec.host.clone().map(|host| vec![host]),
                    secret_name: Some(secret.name.clone()),
                }]
            }),
            default_backend: None,
        }),
        status: None,
    }
}

/// Annotations `PREFIX/key`.
fn keys<const N: usize>(prefix: &str, pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (format!("{prefix}/{key}"), value))
        .collect()
}

/// Whether browsers shall send the cookie by HTTPS only.
fn is_cookie_secure(wish: &validate::Route) -> bool {
    match wish.spec.affinity.secure {
        SecureCookie::Auto => wish.spec.tls_secret_ref.is_some(),
        SecureCookie::Always => true,
        SecureCookie::Never => false,
    }
}
