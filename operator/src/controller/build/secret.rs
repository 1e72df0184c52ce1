//! The secret that pods share: who shows a token made of it may bring another pod a client's request.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::meta;
use crate::controller::validate::Validated;
use crate::names::PEER_SECRET_KEY;

pub(super) fn peers(cluster: &Validated) -> Secret {
    let value = ByteString(cluster.peer_secret.clone());
    Secret {
        metadata: meta(cluster, cluster.names.peers()),
        type_: Some("Opaque".to_owned()),
        data: Some([(PEER_SECRET_KEY.to_owned(), value)].into()),
        ..Default::default()
    }
}
