//! What one node does for another's request, and for its own: fetch, join, leave, disconnect, collect acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Namespace;
use crate::ack;
use crate::adapter::{Answer, RemoteSocket, Request, Selection};
use crate::arguments::Arguments;
use crate::event::Event;
use crate::log::Room;
use crate::sid::Sid;
use crate::socket::Socket;

impl Namespace {
    /// Answers a request with this node's sockets.
    pub(crate) async fn answer_request(&self, request: Request) -> Answer {
        match request {
            Request::Fetch(selection) => Answer::Sockets(self.fetch(&selection)),
            Request::Join(selection, rooms) => {
                let sockets = self.selected(&selection);
                join_all(
                    sockets
                        .iter()
                        .map(|socket| self.move_socket(socket, &rooms, true)),
                )
                .await;
                Answer::Done(sockets.len())
            }
            Request::Leave(selection, rooms) => {
                let sockets = self.selected(&selection);
                join_all(
                    sockets
                        .iter()
                        .map(|socket| self.move_socket(socket, &rooms, false)),
                )
                .await;
                Answer::Done(sockets.len())
            }
            Request::Disconnect(selection, close) => {
                let sockets = self.selected(&selection);
                for socket in &sockets {
                    socket.disconnect_from(close);
                }
                Answer::Done(sockets.len())
            }
            Request::BroadcastAck { to, event, timeout } => {
                Answer::Acks(self.collect_acks(&to, &event, timeout).await)
            }
            Request::ServerSide { event } => Answer::ServerSide(self.ask_listener(&event).await),
        }
    }

    fn selected(&self, selection: &Selection) -> Vec<Arc<Socket>> {
        self.registry().lock().selected(selection)
    }

    fn fetch(&self, selection: &Selection) -> Vec<RemoteSocket> {
        let node = self.adapter().node().to_string();
        let sockets = self.selected(selection);
        let described = sockets.iter().map(|socket| {
            let own = socket.id().to_string();
            let rooms = socket.rooms();
            let rooms = rooms.iter().map(ToString::to_string);
            RemoteSocket {
                rooms: std::iter::once(own.clone()).chain(rooms).collect(),
                id: own,
                node: node.clone(),
                data: socket.data().unwrap_or_default(),
            }
        });
        described.collect()
    }

    async fn move_socket(&self, socket: &Socket, rooms: &[Room], joins: bool) {
        if joins {
            self.join(socket, rooms);
        } else {
            self.leave(socket, rooms);
        }
        self.persist(socket).await;
    }

    async fn collect_acks(
        &self,
        to: &Selection,
        event: &Event,
        timeout: Duration,
    ) -> Vec<(Sid, Option<Arguments>)> {
        let asked = self.selected(to).into_iter().map(|socket| {
            let asked = socket.start_asking(event.clone());
            async move {
                let Ok((id, answer)) = asked else {
                    return (socket.id(), None);
                };
                let answer = ack::wait(answer, timeout).await;
                socket.forget_ack(id);
                (socket.id(), answer.ok())
            }
        });
        // All are asked before the first answer is waited for.
        let asked: Vec<_> = asked.collect();
        join_all(asked).await
    }

    /// Runs this node's listener for a server-side event that wants no answer.
    pub(super) fn on_server_side(&self, event: &Event) {
        if let Some(work) = self.listen(event) {
            tokio::spawn(work);
        }
    }

    async fn ask_listener(&self, event: &Event) -> Option<Arguments> {
        self.listen(event)?.await
    }

    fn listen(
        &self,
        event: &Event,
    ) -> Option<futures_util::future::BoxFuture<'static, Option<Arguments>>> {
        let (name, arguments) = event.to_incoming()?;
        let listener = {
            let setup = self.setup().read();
            let found = setup
                .server_side
                .iter()
                .find(|(listened, _)| *listened == name);
            found.map(|(_, listener)| listener.clone())?
        };
        Some(listener(arguments))
    }
}
