//! What a person says and hears on a connection.

use chatcluster_socketio::Offset;
use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Asked, Person, Socket};
use crate::simulation::node::Publish;
use crate::simulation::oracle::Stay;

const ROOMS: [&str; 3] = ["a", "b", "c"];

impl Person {
    async fn ask(&mut self, socket: &mut Socket, event: &str, arg: &Value, asked: Asked) {
        let id = self.next_ask;
        self.next_ask += 1;
        self.asked.insert(id, asked);
        let packet = format!("42{id}{}", json!([event, arg]));
        // A connection that the server has closed takes nothing more; reading tells.
        let _closed = socket.send(Message::text(packet)).await;
    }

    pub(super) async fn publish(&mut self, socket: &mut Socket) {
        let publish = if !self.again.is_empty() && self.random.one_in(2) {
            let which = self.random.below(self.again.len());
            self.again.swap_remove(which)
        } else {
            self.next_id += 1;
            let room = match self.random.below(10) {
                0..3 => Some((*self.random.pick(&ROOMS)).to_owned()),
                3 => self.crowd.somebody(&mut self.random),
                _ => None,
            };
            Publish {
                id: self.next_id,
                room,
                is_kept: self.random.one_in(2),
            }
        };
        let arg = serde_json::to_value(&publish).unwrap();
        self.ask(socket, "publish", &arg, Asked::Publish(publish))
            .await;
    }

    pub(super) async fn change(&mut self, socket: &mut Socket, is_join: bool) {
        let room = (*self.random.pick(&ROOMS)).to_owned();
        let pending = self.asked.values();
        let is_pending =
            pending.filter(|a| matches!(a, Asked::Join(r) | Asked::Leave(r) if *r == room));
        if is_pending.count() > 0 {
            return;
        }
        if let Some(carried) = &mut self.carried {
            let from = carried.session.last();
            carried.session.stay(&room, from, Stay::Maybe);
        }
        let (event, arg) = (if is_join { "join" } else { "leave" }, json!(room));
        let asked = if is_join {
            Asked::Join(room)
        } else {
            Asked::Leave(room)
        };
        self.ask(socket, event, &arg, asked).await;
    }

    pub(super) async fn hear(&mut self, socket: &mut Socket, text: &str) {
        if text == "2" {
            let _closed = socket.send(Message::text("3")).await;
        } else if let Some(event) = text.strip_prefix("42") {
            self.on_event(event);
        } else if let Some(ack) = text.strip_prefix("43") {
            self.on_ack(ack);
        }
    }

    fn on_event(&mut self, json: &str) {
        let Ok(Value::Array(list)) = serde_json::from_str(json) else {
            return self.crowd.book.fail(format!("not an event: {json}"));
        };
        let id = list.get(1).and_then(Value::as_u64);
        let text = list.get(2).and_then(Value::as_str);
        let offset = text.and_then(|text| text.parse::<Offset>().ok());
        let (Some(id), Some(offset), Some(text)) = (id, offset, text) else {
            return self
                .crowd
                .book
                .fail(format!("an event without id and offset: {json}"));
        };
        let (index, position) = (self.index, offset.position);
        self.crowd
            .world
            .note(format_args!("person {index} gets {id} at {position}"));
        if let Some(carried) = &mut self.carried {
            let at = (offset.epoch, offset.position);
            self.crowd.book.received(&mut carried.session, at, id);
            carried.offset = Some(text.to_owned());
        }
        self.crowd.heard(self.index, id);
    }

    fn on_ack(&mut self, ack: &str) {
        let Some((id, answer)) = ack.find('[').map(|at| ack.split_at(at)) else {
            return;
        };
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let asked = id.parse().ok().and_then(|id: u64| self.asked.remove(&id));
        let number = |name: &str| answer[0][name].as_u64();
        match asked {
            Some(Asked::Publish(publish)) => match number("position") {
                Some(position) => {
                    self.crowd
                        .book
                        .acknowledged(publish.id, position, publish.is_kept);
                    // Somebody who taps twice.
                    if publish.is_kept && self.random.one_in(6) {
                        self.again.push(publish);
                    }
                }
                None if publish.is_kept => self.again.push(publish),
                None => {}
            },
            Some(Asked::Join(room)) => {
                if let (Some(carried), Some(to)) = (&mut self.carried, number("to")) {
                    carried.session.settle(&room, to, Stay::In);
                }
            }
            Some(Asked::Leave(room)) => {
                if let (Some(carried), Some(to)) = (&mut self.carried, number("to")) {
                    carried.session.settle(&room, to, Stay::Out);
                }
            }
            None => self.crowd.book.fail(format!(
                "person {}: an answer to nothing: {ack}",
                self.index
            )),
        }
    }
}
