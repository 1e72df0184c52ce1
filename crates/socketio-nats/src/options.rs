//! What a node can be told about its broker.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use async_nats::jetstream::stream::StorageType;

/// How a node reaches NATS and what the log is to be like. The same on all nodes of a cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Servers, such as `nats://127.0.0.1:4222`; another is tried when one is lost.
    pub servers: Vec<String>,
    /// What all names begin with ([`crate::names::Names`]): clusters that share a NATS have different ones.
    pub prefix: String,
    /// Who this node is to NATS.
    pub credentials: Credentials,
    /// How a `tls://` connection is secured.
    pub tls: Tls,
    /// Copies that JetStream keeps: 1, 3 or 5. Default 1.
    pub replicas: usize,
    /// Where JetStream keeps them. Default file.
    pub storage: StorageType,
    /// How long the log is kept; must reach beyond the recovery window. Zero keeps it for ever. Default 24 hours.
    pub retention: Duration,
    /// Bytes of log that are kept, if limited; the oldest goes first.
    pub retention_bytes: Option<u64>,
    /// How far back the log is read at start, so that clients of other nodes recover here: the recovery window and a ping
    /// cycle. Default 3 minutes.
    pub window: Duration,
}

impl Options {
    /// The usual, for one server.
    #[must_use]
    pub fn new(server: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            prefix: prefix.into(),
            credentials: Credentials::None,
            tls: Tls::default(),
            replicas: 1,
            storage: StorageType::File,
            retention: Duration::from_secs(24 * 60 * 60),
            retention_bytes: None,
            window: Duration::from_secs(180),
        }
    }
}

/// How a connection is secured beyond what the system trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// File with the authorities to trust.
    pub roots: Option<PathBuf>,
    /// Files with this node's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Who a node is to NATS.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// A user with a password.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A user whose password is in a file. Files are read for each connection that is made.
    UserFile {
        /// Its name.
        name: String,
        /// The file with its password; one newline at the end is not part of it.
        file: PathBuf,
    },
    /// A file with a token.
    TokenFile(PathBuf),
    /// A file with a JWT and an NKey seed.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::User { name, .. } | Self::UserFile { name, .. } => write!(f, "User({name:?})"),
            Self::Token(_) => f.write_str("Token"),
            Self::TokenFile(path) | Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let user = Credentials::User {
            name: "chat".to_owned(),
            password: "hunter2".to_owned(),
        };
        let mut options = Options::new("nats://127.0.0.1:4222", "chat");
        options.credentials = user;
        assert!(!format!("{options:?}").contains("hunter2"));
        assert!(!format!("{:?}", Credentials::Token("t0ken".to_owned())).contains("t0ken"));
    }
}
