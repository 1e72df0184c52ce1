//! Handlers: async functions over extractors, for connects, events and disconnects.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::extract::{ConnectContext, EventContext, FromConnect, FromEvent, Rejection};
use crate::socket::{DisconnectReason, SocketRef};

/// A handler at work.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An async function that handles a connect. Implemented for functions of up to four extractors.
pub trait ConnectHandler<A>: Send + Sync + 'static {
    /// Extracts the arguments and starts the function.
    ///
    /// # Errors
    /// When an extractor refuses.
    fn call(&self, context: &ConnectContext<'_>) -> Result<Work, Rejection>;
}

/// An async function that handles an event. Implemented for functions of up to five extractors.
pub trait EventHandler<A>: Send + Sync + 'static {
    /// Extracts the arguments and starts the function.
    ///
    /// # Errors
    /// When an extractor refuses.
    fn call(&self, context: &EventContext<'_>) -> Result<Work, Rejection>;
}

macro_rules! impl_handlers {
    ($trait:ident, $from:ident, $extract:ident, $context:ident: $($arg:ident),*) => {
        impl<F, Fut, $($arg),*> $trait<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = ()> + Send + 'static,
            $($arg: $from + Send,)*
        {
            fn call(&self, _context: &$context<'_>) -> Result<Work, Rejection> {
                Ok(Box::pin(self($($arg::$extract(_context)?),*)))
            }
        }
    };
}

impl_handlers!(ConnectHandler, FromConnect, from_connect, ConnectContext:);
impl_handlers!(ConnectHandler, FromConnect, from_connect, ConnectContext: A);
impl_handlers!(ConnectHandler, FromConnect, from_connect, ConnectContext: A, B);
impl_handlers!(ConnectHandler, FromConnect, from_connect, ConnectContext: A, B, C);
impl_handlers!(ConnectHandler, FromConnect, from_connect, ConnectContext: A, B, C, D);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext:);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext: A);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext: A, B);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext: A, B, C);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext: A, B, C, D);
impl_handlers!(EventHandler, FromEvent, from_event, EventContext: A, B, C, D, E);

/// A connect handler without its argument types.
pub(crate) trait ErasedConnect: Send + Sync {
    fn call(&self, context: &ConnectContext<'_>) -> Result<Work, Rejection>;
}

/// An event handler without its argument types.
pub(crate) trait ErasedEvent: Send + Sync {
    fn call(&self, context: &EventContext<'_>) -> Result<Work, Rejection>;
}

struct Erased<H, A>(H, std::marker::PhantomData<fn() -> A>);

impl<A: 'static, H: ConnectHandler<A>> ErasedConnect for Erased<H, A> {
    fn call(&self, context: &ConnectContext<'_>) -> Result<Work, Rejection> {
        self.0.call(context)
    }
}

impl<A: 'static, H: EventHandler<A>> ErasedEvent for Erased<H, A> {
    fn call(&self, context: &EventContext<'_>) -> Result<Work, Rejection> {
        self.0.call(context)
    }
}

pub(crate) fn erase_connect<A: 'static>(handler: impl ConnectHandler<A>) -> Arc<dyn ErasedConnect> {
    Arc::new(Erased(handler, std::marker::PhantomData))
}

pub(crate) fn erase_event<A: 'static>(handler: impl EventHandler<A>) -> Arc<dyn ErasedEvent> {
    Arc::new(Erased(handler, std::marker::PhantomData))
}

/// A disconnect handler without its type.
pub(crate) type OnDisconnect = Box<dyn FnOnce(SocketRef, DisconnectReason) -> Work + Send>;
