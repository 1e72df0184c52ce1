//! The server's configuration, under a name made of the part that a running server does not take over.
//!
//! A change of the rest is written into the ConfigMap that is there: servers read it again, and no pod is replaced. A change
//! of that part, of the image, or of which fields are written at all, is another ConfigMap, and by its name another template.
//! So a pod of the old revision that is started again in the middle of a rollout finds a configuration that it understands:
//! nobody writes to the old one any more (`docs/adr/0022-configurations-by-content.md`,
//! `docs/adr/0033-reloaded-configuration.md`). `apply` deletes old ones when no pod can need them.

use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::controller::validate::{Validated, short_hash};
use crate::names::CONFIG_KEY;

pub(super) fn build(cluster: &Validated) -> Result<ConfigMap, serde_yaml::Error> {
    let fixed = serde_yaml::to_string(&cluster.config.fixed())?;
    let fields = cluster.config.fields().join(" ");
    let made_for = [&fixed, &fields, &cluster.image]
        .map(String::as_str)
        .join("\n");
    let name = cluster.names.config(&short_hash(made_for.as_bytes()));
    let yaml = serde_yaml::to_string(&cluster.config)?;
    Ok(ConfigMap {
        metadata: meta(cluster, name),
        data: Some([(CONFIG_KEY.to_owned(), yaml)].into()),
        ..Default::default()
    })
}

/// What a server says at `/config` when it has loaded what is in this ConfigMap.
pub(crate) fn hash(config_map: &ConfigMap) -> String {
    let data = config_map.data.as_ref();
    let yaml = data.and_then(|data| data.get(CONFIG_KEY));
    short_hash(yaml.map_or(&[][..], String::as_bytes))
}
