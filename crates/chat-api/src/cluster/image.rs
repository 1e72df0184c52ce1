//! `spec.image`.

use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server's image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tag) != has(self.digest)")
        .message("exactly one of `tag` and `digest` must be set, such as `tag: '1.2.0'`"),
    validation = Rule::new("!has(self.tag) || self.tag != 'latest'")
        .message("`tag` must not be 'latest': pods of one cluster would run different servers; name a version")
        .field_path(".tag"),
)]
pub struct ImageSpec {
    /// repository is the image's name without tag, such as 'registry.example.com/chatcluster-server'.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[a-zA-Z0-9.:/_-]+$"))]
    pub repository: String,
    /// tag is the image's version, such as '1.2.0'. Either it or `digest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[\w][\w.-]*$"))]
    pub tag: Option<String>,
    /// digest is the image's hash, 'sha256:' and 64 digits: what runs cannot change under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[a-f0-9]{64}$"))]
    pub digest: Option<String>,
    /// pullPolicy says when a node gets the image from its registry.
    #[serde(default)]
    pub pull_policy: PullPolicy,
}

/// When a node gets an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At each start of a container.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never; it must be there.
    Never,
}

impl PullPolicy {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The reference that a container runtime is given.
impl fmt::Display for ImageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}
