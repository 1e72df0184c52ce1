//! What a node must be allowed on NATS, and nothing else: the one source for the documentation, and for the users under
//! which the tests run.
//!
//! A node never asks for what is not in these lists; what is denied all the same is an error of whoever wrote the user's
//! permissions, and is told with its subject (`socketio-nats`, `Error::Denied`).

use crate::Names;

/// Subjects that a user may publish to and subscribe to, as nats-server takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// What it may publish to.
    pub publish: Vec<String>,
    /// What it may subscribe to.
    pub subscribe: Vec<String>,
}

impl Permissions {
    /// Of a node whose cluster has its stream and its buckets.
    #[must_use]
    pub fn node(names: &Names) -> Self {
        let prefix = names.prefix();
        let (log, inbox) = (names.stream(), names.inbox());
        let (sessions, meta) = (names.sessions(), names.meta());
        Self {
            publish: vec![
                names.log(),
                format!("{prefix}.cast.*"),
                format!("{prefix}.ask.*"),
                names.node(),
                // Answers to the others, and the sign by which a node knows that its subscriptions stand.
                format!("{inbox}.*"),
                format!("$KV.{sessions}.*"),
                format!("$KV.{meta}.epoch"),
                // The secret that nodes share, unless they are given one.
                format!("$KV.{meta}.peer_secret"),
                format!("$JS.API.STREAM.INFO.{log}"),
                format!("$JS.API.STREAM.INFO.KV_{sessions}"),
                format!("$JS.API.STREAM.INFO.KV_{meta}"),
                // Reading the log.
                format!("$JS.API.CONSUMER.CREATE.{log}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{log}.*"),
                // One session, all of them a page at a time, the epoch, and the secret.
                format!("$JS.API.DIRECT.GET.KV_{sessions}.>"),
                format!("$JS.API.DIRECT.GET.KV_{sessions}"),
                format!("$JS.API.DIRECT.GET.KV_{meta}.$KV.{meta}.epoch"),
                format!("$JS.API.DIRECT.GET.KV_{meta}.$KV.{meta}.peer_secret"),
            ],
            subscribe: vec![
                format!("{prefix}.cast.*"),
                format!("{prefix}.ask.*"),
                names.node(),
                format!("{inbox}.>"),
            ],
        }
    }

    /// Of a node that makes what is missing of stream and buckets.
    #[must_use]
    pub fn founder(names: &Names) -> Self {
        let mut permissions = Self::node(names);
        permissions.publish.extend([
            format!("$JS.API.STREAM.CREATE.{}", names.stream()),
            format!("$JS.API.STREAM.CREATE.KV_{}", names.sessions()),
            format!("$JS.API.STREAM.CREATE.KV_{}", names.meta()),
            // The client library asks for the server's version before it makes a bucket.
            "$JS.API.INFO".to_owned(),
        ]);
        permissions
    }

    /// As a block of nats-server's configuration, for a user in it.
    #[must_use]
    pub fn render(&self) -> String {
        format!(
            "permissions {{\n  publish {{\n    allow: [\n{}    ]\n  }}\n  subscribe {{\n    allow: [\n{}    ]\n  }}\n}}\n",
            list(&self.publish),
            list(&self.subscribe)
        )
    }
}

fn list(subjects: &[String]) -> String {
    let line = |subject: &String| format!("      \"{subject}\"\n");
    subjects.iter().map(line).collect()
}
