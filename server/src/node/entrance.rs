//! Whether a node lets clients in: from when it has joined its cluster, and not if the process is going by then.

use std::sync::{Arc, OnceLock};

use chatcluster_socketio::SocketIo;
use parking_lot::Mutex;

use crate::codes::Code;

/// A node's Socket.IO server, once it lets clients in.
#[derive(Clone, Default)]
pub struct Entrance(Arc<Inside>);

#[derive(Default)]
struct Inside {
    io: OnceLock<SocketIo>,
    /// It stays shut if it is not open yet. Held while it is opened, so that whoever shuts it finds what has been opened.
    is_shut: Mutex<bool>,
}

impl Entrance {
    /// The server, if clients are let in.
    #[must_use]
    pub fn io(&self) -> Option<&SocketIo> {
        self.0.io.get()
    }

    /// Lets clients in, unless it was shut before; false then.
    pub(crate) fn open(&self, io: SocketIo) -> bool {
        let is_shut = self.0.is_shut.lock();
        if !*is_shut {
            // A node joins once.
            let _is_open = self.0.io.set(io);
        }
        !*is_shut
    }

    /// Whoever has not been let in by now never is. One that is open stays so: how its clients go is the drain's.
    pub(crate) fn shut(&self) {
        *self.0.is_shut.lock() = true;
    }

    /// Whether the drain has begun.
    pub(crate) fn is_shut(&self) -> bool {
        *self.0.is_shut.lock()
    }

    /// Why nobody is let in yet.
    pub(crate) fn why_not(&self) -> Code {
        if self.is_shut() {
            Code::Draining
        } else {
            Code::Starting
        }
    }
}
