//! What a socket is sent, and what it is asked.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Socket;
use crate::ack::{self, AckError};
use crate::arguments::Arguments;
use crate::broadcast::{Broadcast, Rooms};
use crate::event::{EmitError, Event};
use crate::member::Held;

/// Acknowledgements that a client may owe; more are refused.
const MAX_PENDING_ACKS: usize = 1 << 16;

impl Socket {
    /// Emits to this client, through the log: a client that recovers gets it too.
    ///
    /// # Errors
    /// [`EmitError`]; the event was then not sent.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.emit_event(Event::new(event, data)?)
    }

    /// As [`Socket::emit`], with an event made before.
    ///
    /// # Errors
    /// As [`Socket::emit`].
    pub fn emit_event(&self, event: Event) -> Result<(), EmitError> {
        self.namespace.unicast(self, event)
    }

    /// Emits to this client only as long as it is connected: the event is not logged and not recovered.
    /// For what the client can ask for again, such as pages of history.
    ///
    /// # Errors
    /// [`EmitError`]; the event was then not sent.
    pub fn emit_unlogged<T: Serialize + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<(), EmitError> {
        self.send_unlogged(Event::new(event, data)?)
    }

    /// As [`Socket::emit_unlogged`], with an event made before.
    ///
    /// # Errors
    /// As [`Socket::emit_unlogged`].
    pub fn send_unlogged(&self, event: Event) -> Result<(), EmitError> {
        if !self.is_connected() {
            return Err(EmitError::Closed);
        }
        self.namespace
            .send_to(self, Held::Event { event, id: None });
        Ok(())
    }

    /// Emits and waits for the client's acknowledgement, read as `R`. Not logged: an acknowledgement in flight does not
    /// survive a reconnect.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn emit_with_ack<T, R>(
        &self,
        event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<R, AckError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let event = Event::new(event, data).map_err(AckError::Emit)?;
        let answer = self.ask(event, timeout).await?;
        answer.read().map_err(AckError::Misshaped)
    }

    /// As [`Socket::emit_with_ack`], with an event made before and the answer unread.
    ///
    /// # Errors
    /// [`AckError`].
    pub async fn ask(&self, event: Event, timeout: Duration) -> Result<Arguments, AckError> {
        let (id, answer) = self.start_asking(event).map_err(AckError::Emit)?;
        let _asked = Asked { socket: self, id };
        ack::wait(answer, timeout).await
    }

    /// Emits with an acknowledgement id; the answer comes through the channel.
    pub(crate) fn start_asking(
        &self,
        event: Event,
    ) -> Result<(u64, oneshot::Receiver<Arguments>), EmitError> {
        let id = self.namespace.next_ack_id();
        let (sender, answer) = oneshot::channel();
        {
            let mut acks = self.acks.lock();
            if !self.is_connected() {
                return Err(EmitError::Closed);
            }
            if acks.len() >= MAX_PENDING_ACKS {
                return Err(EmitError::QueueFull);
            }
            acks.insert(id, sender);
        }
        self.namespace.send_to(
            self,
            Held::Event {
                event,
                id: Some(id),
            },
        );
        Ok((id, answer))
    }

    /// Forgets an acknowledgement that nobody waits for any more.
    pub(crate) fn forget_ack(&self, id: u64) {
        self.acks.lock().remove(&id);
    }

    pub(crate) fn on_ack(&self, id: u64, arguments: Arguments) {
        let Some(waiting) = self.acks.lock().remove(&id) else {
            return;
        };
        // Whoever waited may have given up just now.
        let _late = waiting.send(arguments);
    }

    /// Resolves when little is queued for this client, or it has gone: the pace for sending much.
    pub async fn drained(&self) {
        self.session().drained().await;
    }

    /// To everybody in these rooms but this socket.
    pub fn to(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().to(rooms)
    }

    /// To everybody in these rooms, this socket too if it is in one (Socket.IO's `in`).
    pub fn within(&self, rooms: impl Rooms) -> Broadcast {
        Broadcast::new(self.namespace.clone()).to(rooms)
    }

    /// To everybody but this socket and those in these rooms.
    pub fn except(&self, rooms: impl Rooms) -> Broadcast {
        self.broadcast().except(rooms)
    }

    /// To everybody in the namespace but this socket.
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.namespace.clone()).except(self.id.to_string())
    }

    /// To this client, if it can be written to at once; else not at all.
    pub fn volatile(&self) -> Broadcast {
        self.own_room().local().volatile()
    }

    fn own_room(&self) -> Broadcast {
        Broadcast::new(self.namespace.clone()).to(self.id.to_string())
    }
}

/// Forgets the acknowledgement with whoever waits for it.
struct Asked<'a> {
    socket: &'a Socket,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.socket.forget_ack(self.id);
    }
}
