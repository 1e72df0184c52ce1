//! Why sockets end.

use chatcluster_engineio::CloseReason;

/// Why a socket was disconnected; the text forms are Socket.IO's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The connection ended; the client may come back and recover its session.
    Connection(CloseReason),
    /// The client left the namespace for good.
    ClientNamespaceDisconnect,
    /// The server disconnected it for good.
    ServerNamespaceDisconnect,
}

impl DisconnectReason {
    /// The reason in Socket.IO's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection(reason) => reason.as_str(),
            Self::ClientNamespaceDisconnect => "client namespace disconnect",
            Self::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }

    /// True if the session is kept for the recovery window.
    pub(crate) fn is_recoverable(self) -> bool {
        match self {
            Self::Connection(reason) => reason != CloseReason::ParseError,
            Self::ClientNamespaceDisconnect | Self::ServerNamespaceDisconnect => false,
        }
    }
}
