//! A socket's own handlers: for events, for all events, for its end.

use std::future::Future;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{DisconnectReason, Socket, SocketRef};
use crate::handler::{ErasedEvent, EventHandler, OnDisconnect, erase_event};

/// An event's name and its handler.
type Listener = (Box<str>, Arc<dyn ErasedEvent>);

#[derive(Default)]
pub(super) struct Listeners {
    /// Few per socket: a list is smaller than a map, and as fast.
    events: SmallVec<[Listener; 2]>,
    any: Vec<Arc<dyn ErasedEvent>>,
    disconnect: Option<OnDisconnect>,
}

impl Socket {
    /// Handles an event. A second handler for the same event replaces the first.
    ///
    /// Handlers of one socket run one at a time, in the order in which the events came; while one waits, acknowledgements
    /// still arrive, so it may wait for its own client's.
    pub fn on<A: 'static>(&self, event: &str, handler: impl EventHandler<A>) {
        let handler = erase_event(handler);
        let mut listeners = self.listeners.lock();
        match listeners
            .events
            .iter_mut()
            .find(|(name, _)| &**name == event)
        {
            Some(entry) => entry.1 = handler,
            None => listeners.events.push((event.into(), handler)),
        }
    }

    /// Stops handling an event.
    pub fn off(&self, event: &str) {
        self.listeners
            .lock()
            .events
            .retain(|(name, _)| &**name != event);
    }

    /// Handles every event, before the event's own handler.
    pub fn on_any<A: 'static>(&self, handler: impl EventHandler<A>) {
        self.listeners.lock().any.push(erase_event(handler));
    }

    /// Called once when the socket is disconnected.
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: FnOnce(SocketRef, DisconnectReason) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handler: OnDisconnect =
            Box::new(move |socket, reason| Box::pin(handler(socket, reason)));
        self.listeners.lock().disconnect = Some(handler);
    }

    pub(super) fn handlers_of(&self, event: &str) -> SmallVec<[Arc<dyn ErasedEvent>; 2]> {
        let listeners = self.listeners.lock();
        let own = listeners.events.iter().find(|(name, _)| &**name == event);
        let own = own.map(|(_, handler)| handler.clone());
        let handler = own.or_else(|| self.namespace.handler_of(event));
        listeners.any.iter().cloned().chain(handler).collect()
    }

    pub(crate) fn take_disconnect_handler(&self) -> Option<OnDisconnect> {
        let mut listeners = self.listeners.lock();
        // Handlers hold clones of what they captured, often this socket: they must go with it.
        listeners.events.clear();
        listeners.any.clear();
        listeners.disconnect.take()
    }
}
