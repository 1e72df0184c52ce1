//! Namespace middleware: authentication and whatever else decides whether a client may connect.
//!
//! It runs on every connect, recovered ones included, before there is a socket and before anything is sent: a rejected
//! client sees nothing but the error.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chatcluster_engineio::Handshake;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::{Arguments, Error};
use crate::broadcast::Rooms;
use crate::extensions::Extensions;
use crate::log::Room;

/// A client that asks to connect to a namespace.
pub struct Connecting {
    namespace: Arc<str>,
    session: Arc<chatcluster_engineio::Session>,
    auth: Option<Box<str>>,
    decided: Mutex<Decided>,
    extensions: Extensions,
}

#[derive(Default)]
struct Decided {
    identity: Option<Arc<str>>,
    data: Arc<str>,
    rooms: Vec<Room>,
}

impl Connecting {
    pub(crate) fn new(
        namespace: Arc<str>,
        session: Arc<chatcluster_engineio::Session>,
        auth: Option<Box<str>>,
    ) -> Self {
        Self {
            namespace,
            session,
            auth,
            decided: Mutex::default(),
            extensions: Extensions::default(),
        }
    }

    /// The namespace that the client asks for.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The HTTP request that opened the connection.
    #[must_use]
    pub fn handshake(&self) -> &Handshake {
        self.session.handshake()
    }

    /// The auth payload; `{}` if there was none.
    ///
    /// # Errors
    /// When it does not have the shape of `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Arguments::read_one(self.auth.as_deref().unwrap_or("{}"))
    }

    /// Says who the client is. A session can be recovered only by the identity that opened it.
    pub fn set_identity(&self, identity: impl Into<Arc<str>>) {
        self.decided.lock().identity = Some(identity.into());
    }

    /// Rooms that a new session is in from its beginning: it gets what they get before its handlers run. A recovered client
    /// has the rooms that its session had.
    pub fn join(&self, rooms: impl Rooms) {
        self.decided.lock().rooms.extend(rooms.into_rooms());
    }

    /// Gives the socket's handlers a value that they can take as [`crate::Extension`]; one per type.
    pub fn insert<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        self.extensions.insert(value);
    }

    /// What [`Connecting::set_data`] was given so far.
    #[must_use]
    pub fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.decided.lock().data).ok()
    }

    /// The new socket's `data`. A recovered client keeps what it had before instead.
    ///
    /// # Errors
    /// When the data cannot be written as JSON.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), serde_json::Error> {
        self.decided.lock().data = serde_json::to_string(data)?.into();
        Ok(())
    }

    pub(crate) fn into_credentials(self: Arc<Self>) -> crate::socket::Credentials {
        let decided = std::mem::take(&mut *self.decided.lock());
        crate::socket::Credentials {
            identity: decided.identity,
            auth: self.auth.clone(),
            data: decided.data,
            rooms: decided.rooms,
            extensions: self.extensions.take(),
        }
    }
}

/// Why a client may not connect; it gets this as `connect_error`.
#[derive(Debug, Clone, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The error's message.
    pub message: String,
    /// The error's `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl ConnectError {
    /// An error without data.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
        }
    }

    /// Adds what the client finds as `error.data`.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    pub(crate) fn invalid_namespace() -> Self {
        Self::new("Invalid namespace")
    }
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send>>;

pub(crate) type Middleware = Arc<dyn Fn(Arc<Connecting>) -> Verdict + Send + Sync>;

pub(crate) fn erase<F, Fut>(middleware: F) -> Middleware
where
    F: Fn(Arc<Connecting>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
{
    Arc::new(move |connecting| Box::pin(middleware(connecting)))
}
