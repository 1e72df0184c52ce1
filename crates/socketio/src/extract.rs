//! Extractors: what handlers may take as arguments.
//!
//! | extractor | connect | event | gives |
//! | --- | --- | --- | --- |
//! | [`SocketRef`] | yes | yes | the socket |
//! | [`Data`] | auth payload | arguments | read as `T`; if that fails the handler is not called, which is counted and logged once |
//! | [`TryData`] | auth payload | arguments | the same as a `Result`, for handlers that answer bad input |
//! | [`Arguments`] | | yes | the arguments unread, to pass them on |
//! | [`EventName`] | | yes | the event's name, for catch-all listeners |
//! | [`AckSender`] | | yes | the way to acknowledge |
//! | [`State`] | yes | yes | what the builder's `with_state` was given |
//! | [`Extension`] | yes | yes | what middleware or a handler inserted into this socket |

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::ack::AckSender;
use crate::arguments::{Arguments, Error};
use crate::socket::SocketRef;

/// What a connect handler can be called with.
pub struct ConnectContext<'a> {
    pub(crate) socket: &'a SocketRef,
}

/// What an event handler can be called with.
pub struct EventContext<'a> {
    pub(crate) socket: &'a SocketRef,
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a Arguments,
    pub(crate) ack_id: Option<u64>,
}

/// Why a handler was not called.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The arguments do not have the shape that the handler takes.
    #[error("the arguments do not fit the handler")]
    Misshaped(#[source] Error),
    /// A handler takes a [`State`] that the builder was never given.
    #[error("no state of type {0} was given to the builder")]
    NoState(&'static str),
    /// A handler takes an [`Extension`] that nobody inserted.
    #[error("nothing of type {0} was inserted into the socket")]
    NoExtension(&'static str),
}

/// An argument of a connect handler.
pub trait FromConnect: Sized {
    /// Takes it out of the context.
    ///
    /// # Errors
    /// When the handler cannot be called; see [`Rejection`].
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection>;
}

/// An argument of an event handler.
pub trait FromEvent: Sized {
    /// Takes it out of the context.
    ///
    /// # Errors
    /// When the handler cannot be called; see [`Rejection`].
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection>;
}

/// Arguments read as `T`: a tuple takes the list, anything else the first argument.
#[derive(Debug, Clone)]
pub struct Data<T>(pub T);

/// As [`Data`], for handlers that want to see the failure.
#[derive(Debug)]
pub struct TryData<T>(pub Result<T, Error>);

/// The name of the event that is handled.
#[derive(Debug, Clone)]
pub struct EventName(pub Box<str>);

/// Application state that the builder was given, cloned for the handler.
#[derive(Debug, Clone)]
pub struct State<T>(pub T);

/// A value that middleware or a handler inserted into this socket.
#[derive(Debug, Clone)]
pub struct Extension<T>(pub Arc<T>);

impl FromConnect for SocketRef {
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection> {
        Ok(context.socket.clone())
    }
}

impl FromEvent for SocketRef {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        Ok(context.socket.clone())
    }
}

impl<T: DeserializeOwned> FromConnect for Data<T> {
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection> {
        context
            .socket
            .auth()
            .map(Data)
            .map_err(Rejection::Misshaped)
    }
}

impl<T: DeserializeOwned> FromEvent for Data<T> {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        context
            .arguments
            .read()
            .map(Data)
            .map_err(Rejection::Misshaped)
    }
}

impl<T: DeserializeOwned> FromConnect for TryData<T> {
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection> {
        Ok(TryData(context.socket.auth()))
    }
}

impl<T: DeserializeOwned> FromEvent for TryData<T> {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        Ok(TryData(context.arguments.read()))
    }
}

impl FromEvent for Arguments {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        Ok(context.arguments.clone())
    }
}

impl FromEvent for EventName {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        Ok(Self(context.name.into()))
    }
}

impl FromEvent for AckSender {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        Ok(AckSender::new(context.socket.clone(), context.ack_id))
    }
}

fn state_of<T: Clone + Send + Sync + 'static>(socket: &SocketRef) -> Result<State<T>, Rejection> {
    socket
        .namespace()
        .state::<T>()
        .map(State)
        .ok_or(Rejection::NoState(std::any::type_name::<T>()))
}

impl<T: Clone + Send + Sync + 'static> FromConnect for State<T> {
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection> {
        state_of(context.socket)
    }
}

impl<T: Clone + Send + Sync + 'static> FromEvent for State<T> {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        state_of(context.socket)
    }
}

fn extension_of<T: Send + Sync + 'static>(socket: &SocketRef) -> Result<Extension<T>, Rejection> {
    let found = socket.extension().map(Extension);
    found.ok_or(Rejection::NoExtension(std::any::type_name::<T>()))
}

impl<T: Send + Sync + 'static> FromConnect for Extension<T> {
    fn from_connect(context: &ConnectContext<'_>) -> Result<Self, Rejection> {
        extension_of(context.socket)
    }
}

impl<T: Send + Sync + 'static> FromEvent for Extension<T> {
    fn from_event(context: &EventContext<'_>) -> Result<Self, Rejection> {
        extension_of(context.socket)
    }
}
