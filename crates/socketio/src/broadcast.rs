//! Operators: choosing sockets of all nodes, and what can be done with them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::ack::BroadcastAcks;
use crate::adapter::{Answer, Answers, RemoteSocket, Request, Selection};
use crate::config::Delivery;
use crate::event::{EmitError, Event};
use crate::log::{AppendError, Appended, Envelope, Record, Room, Target};
use crate::namespace::Namespace;
use crate::sid::NodeId;

/// How long other nodes may take to answer where nothing else is said, as in the reference.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a node's answer may take beyond the time that its sockets have.
const NODE_GRACE: Duration = Duration::from_millis(500);

/// One room or several: a name, or a list of names.
pub trait Rooms {
    /// The rooms.
    fn into_rooms(self) -> SmallVec<[Room; 1]>;
}

impl Rooms for &str {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        SmallVec::from_iter([Room::from(self)])
    }
}

impl Rooms for String {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.as_str().into_rooms()
    }
}

impl Rooms for Room {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        SmallVec::from_iter([self])
    }
}

impl<T: AsRef<str>> Rooms for Vec<T> {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.iter().map(|room| Room::from(room.as_ref())).collect()
    }
}

impl<T: AsRef<str>, const N: usize> Rooms for [T; N] {
    fn into_rooms(self) -> SmallVec<[Room; 1]> {
        self.iter().map(|room| Room::from(room.as_ref())).collect()
    }
}

/// A choice of sockets on all nodes. Rooms are a union; a socket in several of them counts once.
#[derive(Clone)]
#[must_use = "operators do nothing until something is emitted or asked"]
pub struct Broadcast {
    namespace: Arc<Namespace>,
    rooms: SmallVec<[Room; 1]>,
    except: SmallVec<[Room; 1]>,
    is_local: bool,
    is_volatile: bool,
    timeout: Option<Duration>,
}

/// What the nodes answered about the sockets chosen.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// The sockets.
    pub sockets: Vec<RemoteSocket>,
    /// Nodes that did not answer in time.
    pub missing: Vec<NodeId>,
}

/// How many sockets something was done to.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Sockets on the nodes that answered.
    pub sockets: usize,
    /// Nodes that did not answer in time.
    pub missing: Vec<NodeId>,
}

/// An event on its way into the log.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<Result<Appended, AppendError>>);

impl Appending {
    /// Resolves when the log has the event, or has refused it.
    ///
    /// # Errors
    /// [`AppendError`]: nobody got the event.
    pub async fn decided(self) -> Result<Appended, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }
}

impl Broadcast {
    /// Everybody in the namespace.
    pub(crate) fn new(namespace: Arc<Namespace>) -> Self {
        Self {
            namespace,
            rooms: SmallVec::new(),
            except: SmallVec::new(),
            is_local: false,
            is_volatile: false,
            timeout: None,
        }
    }

    /// Only who is in one of these rooms; adds to rooms chosen before.
    pub fn to(mut self, rooms: impl Rooms) -> Self {
        self.rooms.extend(rooms.into_rooms());
        self
    }

    /// As [`Broadcast::to`] (Socket.IO's `in`).
    pub fn within(self, rooms: impl Rooms) -> Self {
        self.to(rooms)
    }

    /// Nobody who is in one of these rooms.
    pub fn except(mut self, rooms: impl Rooms) -> Self {
        self.except.extend(rooms.into_rooms());
        self
    }

    /// Only sockets of this node. Such an event is not logged: it has no place in the common order and is not recovered.
    pub fn local(mut self) -> Self {
        self.is_local = true;
        self
    }

    /// Only who can be written to at once; not logged, not recovered.
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// How long to wait for answers: of clients to `emit_with_ack`, of nodes to everything else. Default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn selection(&self) -> Selection {
        let target = if self.rooms.is_empty() {
            Target::All
        } else {
            Target::Rooms(self.rooms.clone())
        };
        Selection {
            target,
            except: self.except.clone(),
        }
    }

    // --- events ---

    /// Emits through the log: everybody gets the events of a namespace in one order, and who recovers gets them too.
    /// Calls one after another are logged in their order. Where there is none ([`Delivery::Ephemeral`]) this node's sockets
    /// get it here and now, those of the others at most once and in this node's order.
    ///
    /// # Errors
    /// [`EmitError::Reserved`], [`EmitError::Encode`].
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), EmitError> {
        self.emit_event(Event::new(event, data)?);
        Ok(())
    }

    /// As [`Broadcast::emit`], with an event made before. A log that refuses it is logged and counted; to know, use
    /// [`Broadcast::append`].
    pub fn emit_event(&self, event: Event) {
        let has_log = self.namespace.delivery() == Delivery::Logged;
        if self.is_local || self.is_volatile || !has_log {
            return self.send_unlogged(event);
        }
        let refused = |result: Result<Appended, AppendError>| {
            if let Err(error) = result {
                tracing::warn!(%error, "an event was not logged and reached nobody");
            }
        };
        self.namespace
            .append(self.envelope(event), None, Box::new(refused));
    }

    fn send_unlogged(&self, event: Event) {
        let to = self.selection();
        if self.is_local {
            self.namespace
                .broadcast_locally(&to, &event, self.is_volatile);
        } else {
            self.namespace
                .broadcast_unlogged(to, event, self.is_volatile);
        }
    }

    fn envelope(&self, event: Event) -> Envelope {
        let Selection { target, except } = self.selection();
        Envelope {
            target,
            except,
            event,
            announced_by: None,
        }
    }

    /// Emits through the log and tells when it is there, and at which position. With a record the event is stored
    /// before anybody gets it, and a second record with the same key reaches nobody. Submitted at once, in order;
    /// `local` and `volatile` do not apply. Refused with [`AppendError::NoLog`] where there is no log.
    #[must_use = "the event is on its way; drop the answer explicitly if it does not matter"]
    pub fn append(&self, event: Event, record: Option<Record>) -> Appending {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            // Whoever asked may have gone.
            let _gone = sender.send(result);
        });
        self.namespace.append(self.envelope(event), record, done);
        Appending(receiver)
    }

    /// As [`Broadcast::append`], calling `done` instead: it must not block, and may run on any thread.
    pub fn append_then<F>(&self, event: Event, record: Option<Record>, done: F)
    where
        F: FnOnce(Result<Appended, AppendError>) + Send + 'static,
    {
        self.namespace
            .append(self.envelope(event), record, Box::new(done));
    }

    /// Emits to each socket and collects their acknowledgements until all have answered or the time is up. Not logged.
    ///
    /// # Errors
    /// [`EmitError::Reserved`], [`EmitError::Encode`].
    pub async fn emit_with_ack<T: Serialize + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> Result<BroadcastAcks, EmitError> {
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let request = Request::BroadcastAck {
            to: self.selection(),
            event: Event::new(event, data)?,
            timeout,
        };
        let (own, others) = self.ask_all(request, timeout + NODE_GRACE).await;
        let mut acks = BroadcastAcks {
            missing: others.missing,
            ..BroadcastAcks::default()
        };
        for answer in others.answers.into_values().chain([own]) {
            if let Answer::Acks(answers) = answer {
                acks.add(answers);
            }
        }
        Ok(acks)
    }

    // --- sockets ---

    /// The sockets chosen, of all nodes.
    pub async fn fetch_sockets(&self) -> Fetched {
        let (own, others) = self
            .ask_all(Request::Fetch(self.selection()), self.node_timeout())
            .await;
        let mut fetched = Fetched {
            missing: others.missing,
            ..Fetched::default()
        };
        for answer in others.answers.into_values().chain([own]) {
            if let Answer::Sockets(sockets) = answer {
                fetched.sockets.extend(sockets);
            }
        }
        fetched
    }

    /// Lets the sockets chosen join rooms; resolves when every node has done so and stored it.
    pub async fn sockets_join(&self, rooms: impl Rooms) -> Done {
        self.change(Request::Join(self.selection(), rooms.into_rooms()))
            .await
    }

    /// Lets the sockets chosen leave rooms; resolves when every node has done so and stored it.
    pub async fn sockets_leave(&self, rooms: impl Rooms) -> Done {
        self.change(Request::Leave(self.selection(), rooms.into_rooms()))
            .await
    }

    /// Disconnects the sockets chosen for good, and with `close` their whole connections.
    pub async fn disconnect_sockets(&self, close: bool) -> Done {
        self.change(Request::Disconnect(self.selection(), close))
            .await
    }

    async fn change(&self, request: Request) -> Done {
        let (own, others) = self.ask_all(request, self.node_timeout()).await;
        let mut done = Done {
            missing: others.missing,
            ..Done::default()
        };
        for answer in others.answers.into_values().chain([own]) {
            if let Answer::Done(sockets) = answer {
                done.sockets += sockets;
            }
        }
        done
    }

    fn node_timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Asks this node and, unless `local`, all others, at the same time.
    async fn ask_all(&self, request: Request, timeout: Duration) -> (Answer, Answers) {
        let others = async {
            if self.is_local {
                return Answers::default();
            }
            self.namespace
                .adapter()
                .request(request.clone(), timeout)
                .await
        };
        tokio::join!(self.namespace.answer_request(request.clone()), others)
    }
}
