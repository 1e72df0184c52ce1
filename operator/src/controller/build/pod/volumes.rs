//! What a pod sees as files: its configuration, secrets, and a place for its copy of the history.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount,
};

use crate::controller::validate::{MountedSecret, PEERS, Validated};
use crate::names::{PEER_SECRET_KEY, paths};

const CONFIG: &str = "config";
const DATA: &str = "data";
/// Readable by the pod's user and group, writable by nobody.
const SECRET_MODE: i32 = 0o440;

pub(super) fn all(cluster: &Validated, config_map: &str) -> Vec<Volume> {
    let mut volumes = vec![
        Volume {
            name: CONFIG.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: config_map.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        },
        // The history is a copy of the log on NATS; a new pod reads it again.
        Volume {
            name: DATA.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Default::default()
        },
        secret(PEERS, cluster.names.peers(), &[PEER_SECRET_KEY.to_owned()]),
    ];
    volumes.extend(cluster.secrets.iter().map(
        |MountedSecret {
             folder,
             field: _,
             secret: name,
             keys,
         }| { secret(folder, name.clone(), keys) },
    ));
    volumes
}

pub(super) fn mounts(cluster: &Validated) -> Vec<VolumeMount> {
    let peers = format!("{}/{PEERS}", paths::SECRETS);
    let mut mounts = vec![
        mount(CONFIG, paths::CONFIG, true),
        mount(DATA, paths::DATA, false),
        mount(PEERS, &peers, true),
    ];
    mounts.extend(
        cluster
            .secrets
            .iter()
            .map(|secret| mount(secret.folder, &secret.path(), true)),
    );
    mounts
}

fn secret(volume: &str, name: String, keys: &[String]) -> Volume {
    let items = keys.iter().map(|key| KeyToPath {
        key: key.clone(),
        path: key.clone(),
        mode: None,
    });
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name),
            default_mode: Some(SECRET_MODE),
            items: Some(items.collect()),
            optional: None,
        }),
        ..Default::default()
    }
}

pub(in super::super) fn mount(volume: &str, path: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..Default::default()
    }
}
