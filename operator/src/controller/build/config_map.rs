//! The server's configuration, under a name made of its content.
//!
//! A pod of the old revision that is started again in the middle of a rollout must find the configuration that it was made
//! for: a new one may hold fields that its server does not know. So no ConfigMap is ever changed
//! (`docs/adr/0022-configurations-by-content.md`); `apply` deletes old ones when no pod can need them.

use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::controller::validate::{Validated, short_hash};
use crate::names::CONFIG_KEY;

pub(super) fn build(cluster: &Validated) -> Result<ConfigMap, serde_yaml::Error> {
    let yaml = serde_yaml::to_string(&cluster.config)?;
    let name = cluster.names.config(&short_hash(yaml.as_bytes()));
    Ok(ConfigMap {
        metadata: meta(cluster, name),
        data: Some([(CONFIG_KEY.to_owned(), yaml)].into()),
        immutable: Some(true),
        ..Default::default()
    })
}
