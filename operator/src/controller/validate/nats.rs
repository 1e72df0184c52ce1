//! `spec.nats`: where NATS is, or what the one that the operator runs shall be.

use std::collections::BTreeSet;
use std::fmt;

use chatcluster_chat_api::Problem;
use chatcluster_chat_api::cluster::{
    ChatCluster, ImageSpec, ManagedNatsSpec, NatsMode, NatsSpec, PullPolicy, SecretKeyReference,
};
use chatcluster_nats_names as on_nats;
use sha2::{Digest as _, Sha256};

use super::secrets::{MountedSecret, folders};
use super::server_config::number;
use super::{Settings, hex, wanted_replicas};
use crate::controller::dereference::Dereferenced;
use crate::names::{NATS_PASSWORD_KEY, Names};

/// Fewest characters of a password that is kept.
const LEAST_PASSWORD_CHARACTERS: usize = 32;
/// More would not count: bcrypt reads so many.
const MOST_PASSWORD_CHARACTERS: usize = 72;
/// Of the volume JetStream takes nine tenths, and of these the log two thirds: the rest is for sessions, and for blocks of the
/// log of which only a part is still wanted.
const STORE_TENTHS: u64 = 9;
const LOG_TENTHS: u64 = 6;

/// What joins the pods.
#[derive(Clone, Debug)]
pub(crate) enum Nats {
    /// One that is there, which listens at these ports.
    External(BTreeSet<i32>),
    /// One that the operator runs.
    Managed(Box<ManagedNats>),
}

/// A nats-server that the operator runs.
#[derive(Clone, Debug)]
pub(crate) struct ManagedNats {
    /// One; none while suspended and no server is left.
    pub(crate) replicas: i32,
    pub(crate) image: String,
    pub(crate) pull_policy: PullPolicy,
    pub(crate) spec: ManagedNatsSpec,
    pub(crate) password: Password,
    /// What servers must be allowed, and nothing else.
    pub(crate) permissions: on_nats::Permissions,
}

/// It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Nats {
    pub(crate) fn managed(&self) -> Option<&ManagedNats> {
        match self {
            Self::External(_) => None,
            Self::Managed(nats) => Some(nats),
        }
    }

    /// What servers read at start, if the operator made it.
    pub(super) fn password(&self) -> &[u8] {
        self.managed()
            .map_or(&[], |nats| nats.password.0.as_bytes())
    }
}

impl ManagedNats {
    /// Bytes that JetStream may take of the volume.
    pub(crate) fn store_bytes(&self) -> u64 {
        tenths(&self.spec, STORE_TENTHS)
    }
}

/// Reads it. `fresh` becomes the password, if there is none yet.
pub(super) fn of(
    cluster: &ChatCluster,
    found: &Dereferenced,
    settings: &Settings,
    prefix: &str,
    fresh: &[u8],
) -> Result<Nats, Problem> {
    let nats = &cluster.spec.nats;
    if nats.mode == NatsMode::External {
        return Ok(Nats::External(
            nats.urls.iter().map(|url| port(url)).collect(),
        ));
    }
    let spec = nats.managed.clone().unwrap_or_default();
    let most = tenths(&spec, LOG_TENTHS);
    if number(nats.retention_bytes) > most {
        let allowed =
            format!("0, or at most {most}, three fifths of `spec.nats.managed.storageSize`");
        let found = nats.retention_bytes;
        return Err(Problem::new("spec.nats.retentionBytes", found, allowed));
    }
    let names = on_nats::Names::new(prefix);
    let names =
        names.map_err(|bad| Problem::new("spec.nats.subjectPrefix", prefix, bad.to_string()))?;
    let image = spec.image.as_ref();
    let is_needed = wanted_replicas(cluster) > 0 || !found.pods.is_empty();
    Ok(Nats::Managed(Box::new(ManagedNats {
        replicas: i32::from(is_needed),
        image: image.map_or_else(|| settings.nats_image.clone(), ImageSpec::to_string),
        pull_policy: image.map(|image| image.pull_policy).unwrap_or_default(),
        password: password(found).unwrap_or_else(|| {
            Password(hex(&Sha256::new_with_prefix("nats")
                .chain_update(fresh)
                .finalize()))
        }),
        permissions: on_nats::Permissions::founder(&names),
        spec,
    })))
}

/// Where servers find the password of a NATS that the operator runs.
pub(super) fn mounted(nats: &NatsSpec, names: &Names) -> Option<MountedSecret> {
    let reference = SecretKeyReference {
        name: names.nats(),
        key: NATS_PASSWORD_KEY.to_owned(),
    };
    (nats.mode == NatsMode::Managed)
        .then(|| MountedSecret::one(folders::NATS_PASSWORD, "spec.nats.mode", &reference))
}

/// The size of the log beyond which its oldest messages go.
pub(super) fn retention_bytes(nats: &NatsSpec) -> u64 {
    match (nats.mode, nats.retention_bytes) {
        (NatsMode::Managed, 0) => tenths(&nats.managed.clone().unwrap_or_default(), LOG_TENTHS),
        (_, bytes) => number(bytes),
    }
}

fn tenths(spec: &ManagedNatsSpec, count: u64) -> u64 {
    spec.storage_bytes() / 10 * count
}

/// The one that is there, if it can be used.
fn password(found: &Dereferenced) -> Option<Password> {
    let data = found.live.nats.secret.as_ref()?.data.as_ref()?;
    let text = std::str::from_utf8(&data.get(NATS_PASSWORD_KEY)?.0).ok()?;
    let is_good = (LEAST_PASSWORD_CHARACTERS..=MOST_PASSWORD_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_good.then(|| Password(text.to_owned()))
}

/// The port of an address of NATS that passed the server's rules.
fn port(url: &str) -> i32 {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let after_host = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
    let port = after_host
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    port.unwrap_or(4222)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;

    use super::*;
    use crate::controller::validate::{Error, Validated, validate};
    use crate::fixtures;

    #[test]
    fn ports_of_nats_are_those_of_its_addresses() {
        for (url, expected) in [
            ("nats://a", 4222),
            ("tls://a.b:1234", 1234),
            ("nats://[::1]", 4222),
            ("nats://[::1]:7", 7),
        ] {
            assert_eq!(port(url), expected, "{url}");
        }
    }

    fn with_password(text: &[u8], fresh: u8) -> Validated {
        let cluster = fixtures::minimal();
        let mut found = fixtures::found(&cluster);
        let value = ByteString(text.to_vec());
        found.live.nats.secret = Some(Secret {
            data: Some([(NATS_PASSWORD_KEY.to_owned(), value)].into()),
            ..Default::default()
        });
        validate(&cluster, &found, &fixtures::settings(), &[fresh; 32]).unwrap()
    }

    #[test]
    fn a_password_is_made_once_and_one_that_cannot_be_used_is_made_again_and_rolls_the_pods() {
        let made = fixtures::validate(&fixtures::minimal()).unwrap();
        let password = &made.nats.managed().unwrap().password;
        assert_eq!(password.0.len(), 64);
        assert_ne!(
            password.0.as_bytes(),
            made.peer_secret,
            "two secrets, and not one for both"
        );
        let kept = with_password(password.0.as_bytes(), 1);
        assert_eq!(kept.nats.managed().unwrap().password, *password);
        let long = "x".repeat(73);
        for unusable in ["short", "line\nbreak", &long, &"\u{fc}".repeat(20)] {
            let again = with_password(unusable.as_bytes(), 1);
            let now = &again.nats.managed().unwrap().password;
            assert!(now != password && now.0 != unusable, "{unusable:?}");
            assert_ne!(again.secrets_hash, kept.secrets_hash, "{unusable:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let made = fixtures::validate(&fixtures::minimal()).unwrap();
        let password = &made.nats.managed().unwrap().password.0;
        assert!(!format!("{:?}", made.nats).contains(password.as_str()));
    }

    #[test]
    fn the_log_leaves_room_on_the_volume_and_a_larger_one_is_refused() {
        let managed = |bytes: u64| {
            let yaml =
                format!("nats: {{managed: {{storageSize: 100Mi}}, retentionBytes: {bytes}}}");
            fixtures::validate(&fixtures::cluster(&yaml))
        };
        let of_volume = managed(0).unwrap();
        let store = of_volume.nats.managed().unwrap().store_bytes();
        assert_eq!(
            (of_volume.config.nats.retention_bytes, store),
            (62_914_560, 94_371_840)
        );
        assert_eq!(
            managed(2_000_000).unwrap().config.nats.retention_bytes,
            2_000_000
        );
        let error = managed(62_914_561).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)));
        assert!(error.to_string().contains("at most 62914560"), "{error}");
    }

    #[test]
    fn nats_goes_after_the_last_server_and_comes_back_with_the_first() {
        let replicas = |state: &str, pods: usize| {
            let cluster = fixtures::cluster(&format!("state: {state}"));
            let mut found = fixtures::found(&cluster);
            found.pods = (0..pods).map(|_| fixtures::pod("talk-0", true)).collect();
            let valid = validate(&cluster, &found, &fixtures::settings(), &fixtures::FRESH);
            valid.unwrap().nats.managed().unwrap().replicas
        };
        assert_eq!(replicas("Running", 0), 1);
        assert_eq!(
            replicas("Suspended", 1),
            1,
            "a server stores sessions until its end"
        );
        assert_eq!(replicas("Suspended", 0), 0);
    }
}
