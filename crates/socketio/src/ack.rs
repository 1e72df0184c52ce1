//! Acknowledgements: answering a client's, and waiting for one.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use crate::arguments::{Arguments, Error};
use crate::event::{EmitError, ack_frames};
use crate::member::Held;
use crate::sid::{NodeId, Sid};
use crate::socket::SocketRef;

/// How a handler acknowledges an event. Does nothing if the client asked for no acknowledgement.
#[derive(Debug)]
pub struct AckSender {
    socket: SocketRef,
    id: Option<u64>,
}

impl AckSender {
    pub(crate) fn new(socket: SocketRef, id: Option<u64>) -> Self {
        Self { socket, id }
    }

    /// True if the client waits for an acknowledgement.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.id.is_some()
    }

    /// Acknowledges: a tuple is an argument list, anything else one argument.
    ///
    /// # Errors
    /// [`EmitError::Encode`] if the data cannot be written. A client that has gone is no error: it will ask again.
    pub fn send<T: Serialize + ?Sized>(self, data: &T) -> Result<(), EmitError> {
        if self.id.is_none() {
            return Ok(());
        }
        let arguments =
            Arguments::of(data).map_err(|e| EmitError::encode("an acknowledgement", e))?;
        self.send_arguments(&arguments);
        Ok(())
    }

    /// Acknowledges with arguments that are passed on as they came.
    pub fn send_arguments(self, arguments: &Arguments) {
        if let Some(id) = self.id {
            let namespace = self.socket.namespace();
            let frames = ack_frames(namespace.path(), id, arguments);
            namespace.send_to(&self.socket, Held::Packet(frames));
        }
    }
}

/// Why no acknowledgement came.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// The client did not answer in time. An answer that comes later is ignored.
    #[error("operation has timed out")]
    TimedOut,
    /// The client has gone.
    #[error("the socket disconnected before it acknowledged")]
    Disconnected,
    /// The event could not be sent.
    #[error("emit the event")]
    Emit(#[source] EmitError),
    /// The answer does not have the wanted shape.
    #[error("read the acknowledgement")]
    Misshaped(#[source] Error),
}

pub(crate) async fn wait(
    answer: oneshot::Receiver<Arguments>,
    timeout: Duration,
) -> Result<Arguments, AckError> {
    match tokio::time::timeout(timeout, answer).await {
        Err(_) => Err(AckError::TimedOut),
        Ok(Err(_)) => Err(AckError::Disconnected),
        Ok(Ok(arguments)) => Ok(arguments),
    }
}

/// What the sockets of a broadcast answered.
#[derive(Debug, Clone, Default)]
pub struct BroadcastAcks {
    /// The answers in time, by socket.
    pub answers: Vec<(Sid, Arguments)>,
    /// Sockets that got the event and did not answer in time.
    pub silent: Vec<Sid>,
    /// Nodes that did not answer in time: their sockets may or may not have got the event.
    pub missing: Vec<NodeId>,
}

impl BroadcastAcks {
    /// True if every socket of every node answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.silent.is_empty() && self.missing.is_empty()
    }

    pub(crate) fn add(&mut self, acks: Vec<(Sid, Option<Arguments>)>) {
        for (sid, answer) in acks {
            match answer {
                Some(arguments) => self.answers.push((sid, arguments)),
                None => self.silent.push(sid),
            }
        }
    }
}
