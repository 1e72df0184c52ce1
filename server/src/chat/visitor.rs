//! What a connection is to the chat: a name, a pace, a way of reading refusals.

use std::sync::OnceLock;
use std::time::Instant;

use chatcluster_socketio::{Connecting, Extension, SocketRef};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Chat, rooms};
use crate::auth::Claim;
use crate::codes::Code;
use crate::limits::EventBucket;

/// One connection of one client. Made by the middleware, anew at each connect.
pub(super) struct Visitor {
    pub(super) claim: Claim,
    bucket: EventBucket,
    /// The name that a guest had before.
    kept_name: OnceLock<String>,
}

/// A handler's view of its visitor.
pub(super) type Guest = Extension<Visitor>;

/// The part that other nodes see, and that is stored with the session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Card {
    pub(super) name: String,
}

impl Visitor {
    pub(super) fn name(&self) -> &str {
        let identity = &self.claim.identity;
        self.kept_name.get().unwrap_or(&identity.name)
    }

    /// After a recovery: shows others the name that this connection has, if the session still shows another. A guest keeps
    /// the one that the session shows.
    pub(super) async fn renew_card(&self, socket: &SocketRef) {
        let shown: Option<Card> = socket.data();
        if let Some(shown) = shown.as_ref().filter(|_| self.claim.identity.is_guest) {
            self.kept_name.get_or_init(|| shown.name.clone());
        }
        if shown.is_none_or(|shown| shown.name != self.name()) {
            let card = Card {
                name: self.name().to_owned(),
            };
            if let Err(error) = socket.set_data(&card).await {
                tracing::error!(%error, "write a visitor's card");
            }
        }
    }

    /// What scopes short message ids of anonymous clients: the session, which a recovered client keeps.
    pub(super) fn scope(socket: &SocketRef) -> String {
        socket
            .session_key()
            .map_or_else(|| socket.id().to_string(), |key| key.to_string())
    }
}

impl Chat {
    /// The middleware: who comes in, and as whom.
    pub(super) fn admit(
        &self,
        connecting: &Connecting,
    ) -> Result<(), chatcluster_socketio::ConnectError> {
        if !self.is_up_to_date() {
            return Err(self.refuse_connect(&Code::Starting.into()));
        }
        let payload: Value = connecting.auth().unwrap_or_default();
        let claim = match self.settings().authenticator.authenticate(&payload) {
            Ok(claim) => claim,
            Err(refusal) => return Err(self.refuse_connect(&refusal)),
        };
        if let Some(subject) = &claim.identity.subject {
            connecting.set_identity(subject.as_str());
            connecting.join(rooms::of_user(subject));
        }
        let card = Card {
            name: claim.identity.name.clone(),
        };
        if let Err(error) = connecting.set_data(&card) {
            tracing::error!(%error, "write a visitor's card");
        }
        let bucket = EventBucket::default();
        connecting.insert(std::sync::Arc::new(Visitor {
            claim,
            bucket,
            kept_name: OnceLock::new(),
        }));
        Ok(())
    }

    /// Counts an event, against its sender's pace too.
    pub(super) fn pace(&self, visitor: &Visitor, event: &'static str) -> Result<(), Code> {
        self.0.metrics.count_event(event);
        visitor.bucket.take(&self.settings().rate, Instant::now())
    }
}
