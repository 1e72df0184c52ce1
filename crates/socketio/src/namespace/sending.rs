//! What leaves a namespace: through its log, past it, or without one; to one socket or to many.

use std::sync::Arc;

use super::Namespace;
use crate::adapter::{Cast, Selection};
use crate::config::Delivery;
use crate::event::{EmitError, Event, Frames};
use crate::log::{AppendDone, AppendError, Envelope, Record, Target};
use crate::member::Held;
use crate::socket::Socket;

impl Namespace {
    pub(crate) fn append(&self, envelope: Envelope, record: Option<Record>, done: AppendDone) {
        match self.delivery {
            Delivery::Logged => self.adapter().append(envelope, record, done),
            Delivery::Ephemeral => done(Err(AppendError::NoLog)),
        }
    }

    /// Sends an event past the log to sockets of all nodes, at most once to those of the others.
    ///
    /// Where there is a log this node's own sockets get it in its order, and only if it is volatile it may go past it.
    pub(crate) fn broadcast_unlogged(&self, to: Selection, event: Event, is_volatile: bool) {
        if self.delivery == Delivery::Logged {
            return self.adapter().cast(Cast::Volatile { to, event });
        }
        let after = {
            // Under the lock for both, so that all nodes' sockets get this node's events in one order.
            let mut registry = self.registry.lock();
            let after = registry.broadcast(&to, &event, is_volatile);
            self.adapter().cast(Cast::Ephemeral {
                to,
                event,
                is_volatile,
            });
            after
        };
        self.finish(after);
    }

    /// Emits to one socket, through the log if there is one; what is sent to it directly afterwards waits behind it.
    pub(crate) fn unicast(
        self: &Arc<Self>,
        socket: &Socket,
        event: Event,
    ) -> Result<(), EmitError> {
        if !socket.is_connected() {
            return Err(EmitError::Closed);
        }
        if self.delivery == Delivery::Ephemeral {
            self.send_to(socket, Held::Event { event, id: None });
            return Ok(());
        }
        let announced = self.registry.lock().announce(socket.slot(), socket);
        let number = announced.ok_or(EmitError::Closed)?;
        let (sid, connection) = (socket.id(), socket.connection());
        let envelope = Envelope {
            target: Target::Session(sid),
            except: [].into_iter().collect(),
            event,
            announced_by: Some(connection),
        };
        let namespace = self.clone();
        self.append(
            envelope,
            None,
            Box::new(move |result| {
                if let Err(error) = result {
                    tracing::warn!(socket.id = %sid, %error, "an event was not logged and not sent");
                    let after = namespace.registry.lock().retract(sid, connection, number);
                    namespace.finish(after);
                }
            }),
        );
        Ok(())
    }

    /// Sends past the log, in order with what the socket was sent before; nothing if it has gone.
    pub(crate) fn send_to(&self, socket: &Socket, held: Held) {
        let after = self.registry.lock().send(socket.slot(), socket, held);
        self.finish(after.unwrap_or_default());
    }

    /// Sends history to a socket that is not live yet; false if it has gone.
    pub(crate) fn send_history(&self, socket: &Socket, frames: &Frames) -> bool {
        self.registry
            .lock()
            .send_history(socket.slot(), socket, frames)
    }

    /// Sends an unlogged event to sockets of this node.
    pub(crate) fn broadcast_locally(&self, to: &Selection, event: &Event, is_volatile: bool) {
        let after = self.registry.lock().broadcast(to, event, is_volatile);
        self.finish(after);
    }
}
