//! How clients come in, in the words of each controller: one file per dialect.
//!
//! A new dialect is a new file, a value of `IngressController` in `chat_api`, and a line in [`dialect`]. Where a key sits
//! differs: some controllers read the Ingress, others the Service behind it, so a dialect answers for both.

mod nginx;
mod none;

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, IngressTLS, ServiceBackendPort,
};

use super::meta;
use crate::controller::validate::{self, Validated};
use crate::names::ports;
use chatcluster_chat_api::cluster::IngressController;

/// What leads clients to the Service.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    pub(super) ingress: Option<Ingress>,
    /// What the dialect wants on the client Service.
    pub(super) service_annotations: BTreeMap<String, String>,
}

/// The words of one controller. Pure: from what is wished to objects.
trait Dialect {
    /// What leads clients to the Service `cluster.names.own()`.
    fn route(&self, cluster: &Validated) -> Route;
}

pub(super) fn route(cluster: &Validated) -> Route {
    dialect(cluster.ingress.controller).route(cluster)
}

fn dialect(controller: IngressController) -> &'static dyn Dialect {
    match controller {
        IngressController::None => &none::None,
        IngressController::Nginx => &nginx::Nginx,
    }
}

/// The Ingress that all dialects share, with their annotations. The user's stand over them: time-outs may be changed, and
/// the schema refuses keys of affinity.
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
