//! Coming in and going out.

use chatcluster_socketio::{SocketRef, State};
use serde_json::json;

use super::visitor::{Guest, Visitor};
use super::{Chat, events, presence};

/// Tells the connection about itself, once it has what it missed, and the others that it is here.
pub(super) async fn on_connect(s: SocketRef, State(chat): State<Chat>, guest: Guest) {
    let visitor: &Visitor = &guest.0;
    if s.recovered() {
        // It may have come back with another name.
        visitor.renew_card(&s).await;
    }
    let about = json!({
        "node": chat.0.node,
        "recovered": s.recovered(),
        "name": visitor.name(),
        "serverOffset": chat.tellable(s.position()),
    });
    if let Err(error) = s.emit_unlogged(events::SESSION, &about) {
        tracing::debug!(%error, "a client left before it was told about itself");
    }
    let name = visitor.name().to_owned();
    // A client that was back before it was missed never went: nobody was told that it left.
    if !s.took_over() {
        presence::announce(&s, events::JOINED, None, &name);
    }
    s.on_disconnect(async move |s, _reason| {
        if !s.is_taken_over() {
            presence::announce(&s, events::LEFT, None, &name);
        }
    });
}
