//! The events of one socket, handled one at a time in their order; acknowledgements go past it (semantics 20).
//!
//! A handler that needs no waiting runs on the spot. One that waits moves to a task of its own, which then works the
//! inbox off; a full inbox stops reading the connection.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use chatcluster_engineio::Flow;
use futures_util::FutureExt as _;

use super::{DisconnectReason, Socket, SocketRef};
use crate::arguments::Arguments;
use crate::extract::{EventContext, Rejection};
use crate::handler::Work;

/// An event that waits for its handler.
pub(crate) struct Job {
    pub(crate) name: Box<str>,
    pub(crate) arguments: Arguments,
    pub(crate) ack_id: Option<u64>,
}

impl Job {
    fn len_bytes(&self) -> usize {
        self.name.len() + self.arguments.len_bytes()
    }
}

pub(super) struct Inbox {
    waiting: VecDeque<Job>,
    bytes: usize,
    is_busy: bool,
    is_paused: bool,
}

impl Default for Inbox {
    /// Busy until the connect handler has run.
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            is_busy: true,
            is_paused: false,
        }
    }
}

impl Socket {
    /// Runs the connect handler; events wait in the inbox until it has returned, so that none misses its handler.
    pub(crate) fn start(self: &Arc<Self>, connect: Work) {
        self.run(connect);
    }

    /// Takes an event in.
    pub(crate) fn on_event(self: &Arc<Self>, job: Job) -> Flow {
        {
            let mut inbox = self.inbox.lock();
            if inbox.is_busy {
                inbox.bytes += job.len_bytes();
                inbox.waiting.push_back(job);
                inbox.is_paused = self.inbox_share(&inbox) >= 1.0;
                if inbox.is_paused {
                    self.namespace.counters().inbox_pauses.increment();
                    return Flow::Pause;
                }
                return Flow::Continue;
            }
            inbox.is_busy = true;
        }
        let work = self.handle(&job);
        self.run(work);
        Flow::Continue
    }

    /// Works on the spot as far as that goes without waiting; the rest moves to a task.
    fn run(self: &Arc<Self>, mut work: Work) {
        loop {
            let mut attempt = AssertUnwindSafe(&mut work).catch_unwind();
            match attempt.poll_unpin(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {
                    tokio::spawn(work_off(self.clone(), work));
                    return;
                }
                Poll::Ready(Err(_)) => self.on_panic(),
                Poll::Ready(Ok(())) => {}
            }
            match self.next_job() {
                Some(job) => work = self.handle(&job),
                None => return,
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut inbox = self.inbox.lock();
        let job = inbox.waiting.pop_front();
        inbox.bytes -= job.as_ref().map_or(0, Job::len_bytes);
        if job.is_none() {
            inbox.is_busy = false;
            inbox.waiting = VecDeque::new();
        }
        let resumes = inbox.is_paused && self.inbox_share(&inbox) <= 0.5;
        if resumes {
            inbox.is_paused = false;
        }
        drop(inbox);
        if resumes {
            self.session().resume();
        }
        job
    }

    /// How full an inbox is: by its events, or by their bytes, of which it holds two of the largest messages.
    fn inbox_share(&self, inbox: &Inbox) -> f64 {
        let config = self.namespace.config();
        let events = inbox.waiting.len() as f64 / config.inbox_events as f64;
        let bytes = inbox.bytes as f64 / (2 * config.engine.max_payload) as f64;
        events.max(bytes)
    }

    fn handle(self: &Arc<Self>, job: &Job) -> Work {
        self.namespace.counters().events_in.increment();
        let handlers = self.handlers_of(&job.name);
        if handlers.is_empty() {
            self.namespace.counters().events_unhandled.increment();
        }
        let socket = SocketRef(self.clone());
        let context = EventContext {
            socket: &socket,
            name: &job.name,
            arguments: &job.arguments,
            ack_id: job.ack_id,
        };
        let mut works = handlers.iter().filter_map(|handler| {
            // A handler that is no `async` block runs, and can panic, before there is a future.
            let called = catch_unwind(AssertUnwindSafe(|| handler.call(&context)));
            let work = called.map_err(|_| self.on_panic()).ok()?;
            work.map_err(|rejection| self.on_rejection(&job.name, &rejection))
                .ok()
        });
        match (works.next(), works.next()) {
            (None, _) => Box::pin(std::future::ready(())),
            (Some(only), None) => only,
            (Some(first), Some(second)) => {
                let rest: Vec<Work> = works.collect();
                Box::pin(async move {
                    for work in [first, second].into_iter().chain(rest) {
                        work.await;
                    }
                })
            }
        }
    }

    fn on_rejection(&self, event: &str, rejection: &Rejection) {
        self.namespace.counters().events_misshaped.increment();
        tracing::debug!(socket.id = %self.id(), event, error = %rejection, "an event did not reach its handler");
    }

    pub(crate) fn on_panic(&self) {
        self.namespace.counters().handler_panics.increment();
        tracing::error!(socket.id = %self.id(), "a handler panicked");
    }

    /// Runs the disconnect handler, beside whatever event handler may still be at work.
    pub(crate) fn run_disconnect(self: &Arc<Self>, reason: DisconnectReason) {
        if let Some(handler) = self.take_disconnect_handler() {
            let socket = self.clone();
            tokio::spawn(async move {
                let work = async { handler(SocketRef(socket.clone()), reason).await };
                if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                    socket.on_panic();
                }
            });
        }
    }
}

async fn work_off(socket: Arc<Socket>, mut work: Work) {
    loop {
        if AssertUnwindSafe(&mut work).catch_unwind().await.is_err() {
            socket.on_panic();
        }
        match socket.next_job() {
            Some(job) => work = socket.handle(&job),
            None => return,
        }
    }
}
