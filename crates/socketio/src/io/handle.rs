//! What an application sets up for a namespace: middleware, handlers, listeners, history.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;

use crate::arguments::Arguments;
use crate::backfill::Backfill;
use crate::handler::{EventHandler, erase_event};
use crate::middleware::{self, ConnectError, Connecting};
use crate::namespace::{Namespace, Setup};

/// A namespace, or a pattern of namespaces, that is being set up.
pub struct NamespaceHandle {
    pub(super) setup: Arc<RwLock<Setup>>,
    /// `None` for a pattern.
    pub(super) namespace: Option<Arc<Namespace>>,
}

impl NamespaceHandle {
    /// Adds a middleware; they run one after another on every connect, and the first error refuses the client.
    pub fn with<F, Fut>(self, middleware: F) -> Self
    where
        F: Fn(Arc<Connecting>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
    {
        self.setup
            .write()
            .middlewares
            .push(middleware::erase(middleware));
        self
    }

    /// Handles an event of every socket, unless the socket has a handler of its own for it. Costs no memory per socket.
    pub fn on<A: 'static>(self, event: &str, handler: impl EventHandler<A>) -> Self {
        self.setup
            .write()
            .events
            .insert(event.into(), erase_event(handler));
        self
    }

    /// Turns recovery off here, whatever [`crate::Config::recovery`] says: no `pid`, no offsets. For namespaces of clients that
    /// know nothing of it, and of events that nobody needs to get late.
    pub fn without_recovery(self) -> Self {
        self.setup.write().is_without_recovery = true;
        if let Some(namespace) = &self.namespace {
            namespace.narrow_window();
        }
        self
    }

    /// Sends history to sockets that could not be recovered, or were cut off before they had it, before they go live.
    pub fn backfill<F, Fut>(self, source: F) -> Self
    where
        F: Fn(Backfill) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.setup.write().backfill = Some(Arc::new(move |backfill| Box::pin(source(backfill))));
        self
    }

    /// Listens to a server-side event of the other nodes; what it returns is the answer to those who asked for one.
    pub fn on_server_side<F, Fut>(self, event: &str, listener: F) -> Self
    where
        F: Fn(Arguments) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<Arguments>> + Send + 'static,
    {
        let listener =
            Arc::new(move |arguments| Box::pin(listener(arguments)) as BoxFuture<'static, _>);
        self.setup
            .write()
            .server_side
            .push((event.into(), listener));
        self
    }
}
