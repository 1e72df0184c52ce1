//! `spec.nats`.

mod managed;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyReference, SecretReference};
pub use managed::{ManagedNatsSpec, NatsLimits, NatsRequests, NatsResources};

/// What joins the servers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode == oldSelf.mode")
        .message("`mode` must not change: the log and the sessions are on the NATS that was chosen; create another ChatCluster")
        .reason(Reason::FieldValueForbidden)
        .field_path(".mode"),
    validation = Rule::new("self.mode == 'External' || (size(self.urls) == 0 && !has(self.user) && !has(self.passwordSecretRef) && !has(self.credentialsSecretRef) && !has(self.tokenSecretRef) && !has(self.tls))")
        .message("`urls`, `user`, `passwordSecretRef`, `credentialsSecretRef`, `tokenSecretRef` and `tls` may not be specified when `mode` is 'Managed': the operator runs NATS and knows them; for a NATS of your own write `mode: External`"),
    validation = Rule::new("self.mode == 'Managed' || !has(self.managed)")
        .message("`managed` may not be specified when `mode` is 'External': the operator runs no NATS then")
        .field_path(".managed"),
    validation = Rule::new("self.mode == 'External' || self.replicas == 1")
        .message("`replicas` must be 1 when `mode` is 'Managed': the operator runs one nats-server; for more copies use a NATS of your own and `mode: External`")
        .field_path(".replicas"),
    validation = Rule::new("self.mode == 'External' || self.storage == 'File'")
        .message("`storage` must be 'File' when `mode` is 'Managed': with one nats-server what is in memory is gone when it restarts")
        .field_path(".storage"),
    validation = Rule::new("(has(self.managed) ? self.managed.storageSize : '10Gi') == (has(oldSelf.managed) ? oldSelf.managed.storageSize : '10Gi')")
        .message("`managed.storageSize` must not change: the volume was made with it; docs/operations.md says how to move to a larger one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".managed"),
    validation = Rule::new("(has(self.managed) && has(self.managed.storageClassName) ? self.managed.storageClassName : '') == (has(oldSelf.managed) && has(oldSelf.managed.storageClassName) ? oldSelf.managed.storageClassName : '')")
        .message("`managed.storageClassName` must not change: the volume was made with it; docs/operations.md says how to move to another one")
        .reason(Reason::FieldValueForbidden)
        .field_path(".managed"),
    validation = Rule::new("self.mode != 'External' || size(self.urls) > 0")
        .message("`urls` must hold at least one address when `mode` is 'External', such as 'nats://nats.messaging.svc:4222'")
        .field_path(".urls"),
    validation = Rule::new("self.urls.all(u, u.matches('^(nats|tls)://([-_a-zA-Z0-9.]+|\\\\[[0-9a-fA-F:.]+\\\\])(:[0-9]{1,5})?$'))")
        .message("`urls` must be 'nats://' or 'tls://', a host and, if it is not 4222, a port, such as 'nats://nats.messaging.svc:4222'; users and passwords are given by `credentialsSecretRef`, `passwordSecretRef` or `tokenSecretRef`")
        .field_path(".urls"),
    validation = Rule::new("self.urls.all(u, u.startsWith('tls://')) || self.urls.all(u, u.startsWith('nats://'))")
        .message("`urls` must all begin with 'tls://', or all with 'nats://'")
        .field_path(".urls"),
    validation = Rule::new("!has(self.tls) || self.urls.all(u, u.startsWith('tls://'))")
        .message("`tls` may be specified only when all `urls` begin with 'tls://'")
        .field_path(".tls"),
    validation = Rule::new("has(self.user) == has(self.passwordSecretRef)")
        .message("`user` and `passwordSecretRef` must be set together"),
    validation = Rule::new("[has(self.user), has(self.credentialsSecretRef), has(self.tokenSecretRef)].filter(given, given).size() <= 1")
        .message("at most one of `user` with `passwordSecretRef`, `credentialsSecretRef` and `tokenSecretRef` may be specified"),
    validation = Rule::new("has(self.subjectPrefix) == has(oldSelf.subjectPrefix) && (!has(self.subjectPrefix) || self.subjectPrefix == oldSelf.subjectPrefix)")
        .message("`subjectPrefix` must not change: under another one the servers are another chat, with an empty history; create another ChatCluster")
        .reason(Reason::FieldValueForbidden)
        .field_path(".subjectPrefix"),
    validation = Rule::new("!has(self.subjectPrefix) || self.subjectPrefix.matches('^[-_a-zA-Z0-9]+([.][-_a-zA-Z0-9]+)*$')")
        .message("`subjectPrefix` must be letters, digits, '-' and '_', in parts joined by '.', such as 'team.chat'")
        .field_path(".subjectPrefix"),
    validation = Rule::new("self.replicas in [1, 3, 5]")
        .message("`replicas` must be 1, 3 or 5: copies that NATS keeps of the log, at most one for each of its servers")
        .field_path(".replicas"),
    validation = Rule::new("self.retentionBytes == 0 || self.retentionBytes >= 1048576")
        .message("`retentionBytes` must be 0 (no limit), or at least 1048576")
        .field_path(".retentionBytes"),
)]
pub struct NatsSpec {
    /// mode says whose NATS it is. 'Managed': the operator runs one nats-server for this ChatCluster, with a volume, and makes
    /// its password. 'External': one that is there already, with JetStream, at `urls`; take it when the chat must go on
    /// while a node of NATS is away. It must not change.
    #[serde(default)]
    pub mode: NatsMode,

    /// managed is how the operator runs NATS, when `mode` is 'Managed'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedNatsSpec>,

    /// urls are, when `mode` is 'External', addresses such as 'nats://nats.messaging.svc:4222' or 'tls://nats.example.com:4222'. Any one that answers
    /// will do.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub urls: Vec<String>,

    /// subjectPrefix is what all names on NATS begin with; servers with the same one are one chat. Without it, namespace
    /// and name of the ChatCluster, joined by '.'. It must not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub subject_prefix: Option<String>,

    /// replicas is how many copies NATS keeps of the log and of sessions: 1, 3 or 5, and at most as many as it has servers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,

    /// storage says where NATS keeps them. What is in 'Memory' is gone when all NATS servers were down at once.
    #[serde(default)]
    pub storage: NatsStorage,

    /// retentionBytes is the size of the log beyond which its oldest messages go. With 0 the size sets no limit; when `mode`
    /// is 'Managed', it is three fifths of `managed.storageSize` then.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_099_511_627_776_i64))]
    pub retention_bytes: i64,

    /// credentialsSecretRef names the Secret's entry with an NKey and its JWT, as `nsc` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretKeyReference>,

    /// user is the name of a user of NATS; with `passwordSecretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,

    /// passwordSecretRef names the Secret's entry with the password of `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyReference>,

    /// tokenSecretRef names the Secret's entry with a token, for a NATS that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,

    /// tls says how connections to 'tls://' addresses are secured beyond the system's authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<NatsTlsSpec>,
}

impl Default for NatsSpec {
    fn default() -> Self {
        Self {
            mode: NatsMode::default(),
            managed: None,
            urls: Vec::new(),
            subject_prefix: None,
            replicas: one(),
            storage: NatsStorage::default(),
            retention_bytes: 0,
            credentials_secret_ref: None,
            user: None,
            password_secret_ref: None,
            token_secret_ref: None,
            tls: None,
        }
    }
}

/// Whose NATS it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NatsMode {
    /// One that the operator runs.
    #[default]
    Managed,
    /// One that is there already.
    External,
}

/// Where NATS keeps the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NatsStorage {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// How connections to NATS are secured.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.caSecretRef) || has(self.clientSecretRef)")
        .message("at least one of `caSecretRef` and `clientSecretRef` must be set; without `tls` the system's authorities are trusted"),
)]
pub struct NatsTlsSpec {
    /// caSecretRef names the Secret's entry with the authorities to trust instead of the system's, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyReference>,
    /// clientSecretRef names a Secret of type kubernetes.io/tls: the servers' certificate, for a NATS that verifies clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_ref: Option<SecretReference>,
}

fn one() -> i32 {
    1
}
