//! A socket's life in its namespace: brought up, live, too slow, gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use chatcluster_engineio::CloseReason;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{BackfillSource, Namespace, now_ms};
use crate::backfill::Backfill;
use crate::event::Frames;
use crate::extract::ConnectContext;
use crate::handler::Work;
use crate::member::{After, Ending};
use crate::registry::CatchUp;
use crate::session::Ended;
use crate::socket::{DisconnectReason, Socket, SocketRef};

/// A client that is still being sent what it missed after this time is stored as such. Who is cut off earlier is back before
/// anything that came meanwhile ages out of memory: [`crate::Config::span`] has twice as much to spare.
const LATE: Duration = Duration::from_secs(5);
/// How long a connection that is being closed may take to read what was sent to it before.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

impl Namespace {
    /// Puts a socket to work once it is registered: history if it is new, what was logged since, live; and its handler.
    pub(crate) fn start(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        start: u64,
        backfill: Option<BackfillSource>,
    ) {
        self.counters().connects.increment();
        let is_late = socket.claim.as_ref().is_some_and(|claim| claim.is_late());
        if backfill.is_some() || !self.catch_up(socket) || is_late {
            // Owned by the connection: every wait in it ends with the session.
            tokio::spawn(self.clone().bring_up(socket.clone(), backfill, start));
        }
        socket.start(self.connect_work(socket));
    }

    /// What the connect handler does; nothing if there is none, or it cannot be called.
    fn connect_work(&self, socket: &Arc<Socket>) -> Work {
        let handler = self.setup.read().connect.clone();
        let reference = SocketRef(socket.clone());
        let context = ConnectContext { socket: &reference };
        // A handler that is no `async` block runs, and can panic, before there is a future.
        let called = catch_unwind(AssertUnwindSafe(|| {
            handler.map(|handler| handler.call(&context)).transpose()
        }));
        let called = called.unwrap_or_else(|_| {
            socket.on_panic();
            Ok(None)
        });
        let work = called.unwrap_or_else(|rejection| {
            self.counters().events_misshaped.increment();
            tracing::debug!(socket.id = %socket.id(), error = %rejection, "the connect handler was not called");
            None
        });
        work.unwrap_or_else(|| Box::pin(std::future::ready(())))
    }

    async fn bring_up(
        self: Arc<Self>,
        socket: Arc<Socket>,
        backfill: Option<BackfillSource>,
        start: u64,
    ) {
        let sending = pin!(self.send_missed(&socket, backfill, start));
        let (mut sending, claim) = (sending, socket.claim.as_ref());
        if timeout(LATE, &mut sending).await.is_err() {
            // What ages out of memory from here on is something that this client may lack.
            claim.inspect(|claim| claim.set_late(true));
            tokio::join!(self.persist(&socket), sending);
        }
        if let Some(claim) = claim.filter(|claim| claim.is_late()) {
            claim.set_late(false);
            self.persist(&socket).await;
        }
    }

    async fn send_missed(
        self: &Arc<Self>,
        socket: &Arc<Socket>,
        backfill: Option<BackfillSource>,
        start: u64,
    ) {
        if let Some(source) = backfill {
            source(Backfill::new(SocketRef(socket.clone()), start)).await;
            self.registry.lock().end_backfill(socket.slot(), socket);
        }
        while !self.catch_up(socket) {
            socket.session().drained().await;
            tokio::task::yield_now().await;
        }
    }

    /// One step of a replay; true when there is nothing more to do.
    fn catch_up(&self, socket: &Arc<Socket>) -> bool {
        let mut after = After::new();
        let progress = self
            .registry
            .lock()
            .catch_up(socket.slot(), socket, now_ms(), &mut after);
        self.finish(after);
        match progress {
            CatchUp::More => false,
            CatchUp::Live | CatchUp::Gone => true,
            CatchUp::Gap => {
                // The client cannot be given what it missed: it must know, so its session ends.
                self.end_session(socket, Some(Ended::Gap));
                true
            }
        }
    }

    /// A client's connection is too slow: it goes, and may recover; a second time soon after ends the session.
    fn overflow(&self, socket: &Arc<Socket>) {
        if !socket.is_connected() {
            return;
        }
        self.counters().overflows.increment();
        let is_second = socket
            .claim
            .as_ref()
            .is_none_or(|claim| claim.note_overflow(now_ms()));
        tracing::info!(socket.id = %socket.id(), session.ends = is_second, "the send queue of a slow client overflowed");
        if is_second {
            self.end_session(socket, None);
        } else {
            socket.session().close(CloseReason::TransportError);
        }
    }

    /// Ends a session so that it cannot be recovered, and closes the connection so that the client comes back anew.
    pub(crate) fn end_session(&self, socket: &Arc<Socket>, why: Option<Ended>) {
        if let Some(claim) = &socket.claim {
            claim.give_up(why);
        }
        socket.session().close(CloseReason::TransportError);
    }

    /// A socket has ended, for whatever reason; does its clean-up once.
    pub(crate) fn disconnected(&self, socket: &Arc<Socket>, reason: DisconnectReason) {
        if !socket.end() {
            return;
        }
        // Whoever has the session by now keeps its entry: only this very socket's is removed.
        let member = self.registry.lock().unregister(socket.slot(), socket);
        self.release(socket, member.map(|m| m.place()), reason);
        socket.run_disconnect(reason);
    }

    /// The server is done with a socket. Its session has ended before it is told: it may come back at once, as somebody new.
    fn dismiss(&self, socket: &Arc<Socket>, packet: Frames, close: bool) {
        const REASON: DisconnectReason = DisconnectReason::ServerNamespaceDisconnect;
        if !socket.end() {
            if close {
                disconnect_all(socket);
            }
            return;
        }
        let member = self.registry.lock().unregister(socket.slot(), socket);
        let ending = member.map(|member| self.let_go(socket, member.place(), REASON));
        socket.run_disconnect(REASON);
        let socket = socket.clone();
        go_on(Box::pin(async move {
            if let Some(ending) = ending {
                ending.await;
            }
            // It may have gone by itself.
            let _closed = socket.session().send_beyond_bound(&packet);
            if close {
                disconnect_all(&socket);
            }
        }));
    }

    /// Does what the registry could not do under its lock.
    pub(crate) fn finish(&self, after: After) {
        for (socket, ending) in after {
            match ending {
                Ending::Overflow => self.overflow(&socket),
                Ending::Disconnect { packet, close } => self.dismiss(&socket, packet, close),
            }
        }
    }
}

/// Works as far as that goes without waiting; the rest moves to a task, which the session store's deadline bounds.
pub(crate) fn go_on(mut work: BoxFuture<'static, ()>) {
    let begun = work.poll_unpin(&mut Context::from_waker(Waker::noop()));
    if begun.is_pending() {
        tokio::spawn(work);
    }
}

/// Goes on with the other namespaces of a connection; whoever is the last one closes it.
fn disconnect_all(socket: &Socket) {
    let siblings = socket.siblings();
    if siblings.is_empty() {
        let session = socket.session();
        session.close_after_flush(CloseReason::ForcedServerClose, FLUSH_DEADLINE);
    }
    for sibling in siblings {
        sibling.disconnect_from(true);
    }
}
