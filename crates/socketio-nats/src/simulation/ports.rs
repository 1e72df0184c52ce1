//! The ports of one node on the simulated broker.

use std::future::pending;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::{PublishError, Subject, SubscribeError};
use bytes::Bytes;
use chatcluster_socketio::session::Record;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::poll_fn;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::cells::{self, Answer, Cells, Change, Found, Page, Write};
use crate::cluster;
use crate::codec;
use crate::follower::Trouble;
use crate::ports::{Awaited, Letters, Log, LogAck, LogMessages, LogState, Ports, Wire};
use crate::publisher::Failure;
use crate::stream::StreamError;

use super::broker::Bucket;
use super::world::{State, World};

/// As the ports on NATS.
const CALL: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Port {
    world: Arc<World>,
    link: usize,
}

/// A new node's ports, and its link.
pub(super) fn ports(world: &Arc<World>, name: &str) -> (Ports, usize) {
    let (link, connections) = world.with(|state| state.links.add(name));
    world.with(|state| state.connect(link));
    let port = Port {
        world: world.clone(),
        link,
    };
    let cells = |is_meta| {
        Arc::new(Keys {
            port: port.clone(),
            is_meta,
        })
    };
    let ports = Ports {
        wire: Arc::new(port.clone()),
        log: Arc::new(port.clone()),
        sessions: cells(false),
        meta: cells(true),
        connections,
    };
    (ports, link)
}

impl Port {
    /// Asks the broker; never resolves if there is no answer.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut State) -> Option<T> + Send + 'static,
    ) -> T {
        let (answer, answered) = oneshot::channel();
        let link = self.link;
        let command = move |state: &mut State| {
            let outcome = act(state);
            let is_lost = state.is_answer_lost();
            let Some(outcome) = outcome.filter(|_| !is_lost) else {
                return state.note(format_args!("no answer to {what} of {link}"));
            };
            let think = state.think();
            let arrive = move |_: &mut State| {
                // Who asked may have given up.
                let _gone = answer.send(outcome);
            };
            state.reply(link, think, Box::new(arrive));
        };
        self.world
            .with(|state| state.send(self.link, Box::new(command)));
        match answered.await {
            Ok(outcome) => outcome,
            Err(_) => pending().await,
        }
    }

    async fn ask_log<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, StreamError> {
        let asked = self.ask(what, |state| {
            (!state.is_log_leaderless()).then(|| act(state))
        });
        let answered = timeout(CALL, asked).await;
        answered.map_err(|_| StreamError::NoAnswer {
            stream: "simulated".to_owned(),
        })
    }
}

impl Log for Port {
    fn state(&self) -> BoxFuture<'_, Result<Option<LogState>, StreamError>> {
        Box::pin(self.ask_log("state", |state| state.broker.state()))
    }

    fn ensure(&self) -> BoxFuture<'_, Result<LogState, StreamError>> {
        Box::pin(self.ask_log("ensure", |state| {
            if state.broker.log.is_none() {
                state.note(format_args!("a log is made"));
            }
            state.broker.ensure()
        }))
    }

    fn count_since(&self, age: Duration) -> BoxFuture<'_, Result<u64, Trouble>> {
        Box::pin(async move {
            let counted = self.ask_log("count", move |state| state.broker.count_since(age));
            Ok(counted.await?)
        })
    }

    fn read(&self, from: u64, _: Awaited) -> BoxFuture<'_, Result<LogMessages, Trouble>> {
        let link = self.link;
        Box::pin(async move {
            let (into, mut messages) = mpsc::unbounded_channel();
            let kept = into.clone();
            let is_made = self.ask_log("read", move |state| {
                let is_made = state.broker.read(link, from, into);
                state.note(format_args!("{link} reads from {from}: {is_made}"));
                state.pump();
                is_made
            });
            if !is_made.await? {
                return Err(Trouble::NoAnswer);
            }
            let port = self.clone();
            let messages = poll_fn(move |context| {
                let _open = &kept;
                let polled = messages.poll_recv(context);
                // What has arrived is read only when somebody takes it: who begins anew leaves the rest.
                if let Poll::Ready(Some(Ok(message))) = &polled {
                    let sequence = message.sequence;
                    port.world.with(|state| state.has_read(link, sequence));
                }
                polled
            });
            Ok(messages.boxed())
        })
    }

    fn publish(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<LogAck, Failure>> {
        let (port, subject, id) = (self.clone(), subject.to_owned(), id.to_owned());
        Box::pin(async move {
            let link = port.link;
            let published = port.ask("publish", move |state| {
                let is_leaderless = state.is_log_leaderless();
                if is_leaderless && state.random.one_in(2) {
                    return None;
                }
                let now = state.now();
                let ack = state.broker.append(now, (subject, id, payload));
                state.note(format_args!("{link} publishes: {ack:?}"));
                state.pump();
                if is_leaderless {
                    return None;
                }
                Some(ack.ok_or_else(|| Failure::Again("no responders".to_owned())))
            });
            published.await
        })
    }
}

impl Wire for Port {
    fn is_connected(&self) -> bool {
        self.world.with(|state| state.links.get(self.link).is_up)
    }

    fn connection(&self) -> u64 {
        self.world
            .with(|state| state.links.get(self.link).generation)
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }

    fn inbox(&self) -> Subject {
        self.world.with(|state| state.links.inbox()).into()
    }

    fn subscribe(&self, subject: Subject) -> BoxFuture<'_, Result<Letters, SubscribeError>> {
        let (into, mut letters) = mpsc::unbounded_channel();
        let kept = into.clone();
        self.world
            .with(|state| state.subscribe(self.link, subject.to_string(), into));
        let letters = poll_fn(move |context| {
            let _open = &kept;
            letters.poll_recv(context)
        });
        Box::pin(std::future::ready(Ok(letters.boxed())))
    }

    fn publish(
        &self,
        subject: Subject,
        reply: Option<Subject>,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<(), PublishError>> {
        let command = move |state: &mut State| state.publish(&subject, reply.as_deref(), &payload);
        self.world
            .with(|state| state.send(self.link, Box::new(command)));
        Box::pin(std::future::ready(Ok(())))
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.ask("flush", |_| Some(())))
    }
}

/// One bucket of the broker.
struct Keys {
    port: Port,
    is_meta: bool,
}

fn bucket(state: &mut State, is_meta: bool) -> &mut Bucket {
    if is_meta {
        &mut state.broker.meta
    } else {
        &mut state.broker.sessions
    }
}

impl Keys {
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        act: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, cells::Error> {
        let is_meta = self.is_meta;
        let asked = self.port.ask(what, move |state| {
            if state.is_kv_leaderless() || !bucket(state, is_meta).is_there {
                return Some(Err(cells::Error::NoHolder));
            }
            Some(Ok(act(state)))
        });
        asked.await
    }
}

impl State {
    fn has_read(&mut self, link: usize, sequence: u64) {
        self.links.has_read(link, sequence);
        self.note(format_args!("{link} has read {sequence}"));
    }

    /// A session was given its window although its node lives.
    fn note_sweep(&mut self, by: usize, write: &Write) {
        let Change::Put { value, .. } = &write.change else {
            return;
        };
        let Ok(record) = codec::decode::<Record>(value) else {
            return;
        };
        let owner = self.links.of(record.owner.as_str());
        if !record.is_connected && owner.is_some_and(|owner| owner != by) {
            let sid = record.sid;
            self.note(format_args!("{by} sweeps {sid}, whose node lives"));
        }
    }
}

impl Cells for Keys {
    fn ensure(&self) -> BoxFuture<'_, Result<(), cluster::Error>> {
        let is_meta = self.is_meta;
        Box::pin(async move {
            let made = self.port.ask("ensure bucket", move |state| {
                bucket(state, is_meta).is_there = true;
                Some(())
            });
            let made = timeout(CALL, made).await;
            made.map_err(|_| crate::epoch::EpochError::NoAnswer.into())
        })
    }

    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<Answer, cells::Error>> {
        let (write, is_meta, link) = (write.clone(), self.is_meta, self.port.link);
        Box::pin(self.ask("write", move |state| {
            let now = state.now();
            let answer = bucket(state, is_meta).write(now, &write);
            if matches!(answer, Answer::Stored(_)) {
                state.note_sweep(link, &write);
            }
            let (key, expected) = (&write.key, write.expected);
            state.note(format_args!(
                "{link} writes {key} over {expected}: {answer:?}"
            ));
            answer
        }))
    }

    fn read<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Found>, cells::Error>> {
        let (key, is_meta) = (key.to_owned(), self.is_meta);
        Box::pin(self.ask("read key", move |state| {
            let is_past = state.weather.has_replicas && state.random.one_in(3);
            let now = state.now();
            bucket(state, is_meta).read(now, &key, is_past)
        }))
    }

    fn page(&self, from: u64) -> BoxFuture<'_, Result<Page, cells::Error>> {
        let is_meta = self.is_meta;
        Box::pin(self.ask("page", move |state| {
            let now = state.now();
            bucket(state, is_meta).page(now, from)
        }))
    }
}
