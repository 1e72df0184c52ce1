//! The events of the contract.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chatcluster_socketio::{
    AckSender, Arguments, Data, Event, EventName, Namespace, SocketIo, SocketRef,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::spec::{OneOrMany, Spec};

/// How many event names `seen` remembers.
const SEEN: usize = 50;

/// The connect handler of node `index`.
pub(crate) fn on_connect(
    io: SocketIo,
    index: u16,
) -> impl Fn(SocketRef) -> std::future::Ready<()> + Clone + Send + Sync {
    move |s: SocketRef| {
        about_itself(&s, index);
        rooms(&s);
        emitting(&s, &io);
        asking(&s);
        others(&s);
        ending(&s);
        std::future::ready(())
    }
}

/// What a server-side `relay` does on this node.
pub(crate) fn relay(main: &Arc<Namespace>, index: u16, arguments: &Arguments) {
    let args: Value = serde_json::from_str(&format!("[{}]", arguments.json())).unwrap_or_default();
    let mut all = vec![json!(index)];
    all.extend(args.as_array().into_iter().flatten().cloned());
    if let Ok(args) = Arguments::list(&all)
        && let Ok(event) = Event::from_arguments("relayed", &args)
    {
        main.all().local().emit_event(event);
    }
}

fn answer<T: Serialize>(ack: AckSender, data: &T) {
    if let Err(error) = ack.send(data) {
        eprintln!("acknowledge: {error}");
    }
}

fn about_itself(s: &SocketRef, index: u16) {
    let whoami = move |s: SocketRef, ack: AckSender| async move {
        let id = s.id().to_string();
        let mut rooms: Vec<String> = s.rooms().iter().map(ToString::to_string).collect();
        rooms.push(id.clone());
        rooms.sort();
        let (data, auth): (Value, Value) =
            (s.data().unwrap_or(json!({})), s.auth().unwrap_or_default());
        let about = json!({
            "id": id, "node": index, "nsp": s.namespace().path(), "recovered": s.recovered(), "rooms": rooms,
            "data": data, "auth": auth, "transport": s.transport().as_str(),
        });
        answer(ack, &about);
    };
    s.on("whoami", whoami);
    s.on(
        "set-data",
        async |s: SocketRef, Data(value): Data<Value>, ack: AckSender| {
            let stored = s.set_data(&json!({ "value": value })).await;
            answer(ack, if stored.is_ok() { &"ok" } else { &"error" });
        },
    );
    let seen = Arc::new(Mutex::new(VecDeque::new()));
    let seeing = seen.clone();
    s.on_any(move |EventName(name): EventName| {
        let mut seen = seeing.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == SEEN {
            seen.pop_front();
        }
        seen.push_back(name);
        std::future::ready(())
    });
    s.on("seen", move |ack: AckSender| {
        let names = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answer(ack, &(names,));
        std::future::ready(())
    });
    s.on("sleep", async |Data(ms): Data<u64>, ack: AckSender| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        answer(ack, &"ok");
    });
}

fn rooms(s: &SocketRef) {
    s.on(
        "join",
        async |s: SocketRef, Data(rooms): Data<OneOrMany>, ack: AckSender| {
            s.join(rooms.into_vec()).await;
            answer(ack, &"ok");
        },
    );
    s.on(
        "leave",
        async |s: SocketRef, Data(rooms): Data<OneOrMany>, ack: AckSender| {
            s.leave(rooms.into_vec()).await;
            answer(ack, &"ok");
        },
    );
}

fn emitting(s: &SocketRef, io: &SocketIo) {
    let io = io.clone();
    s.on(
        "emit-to",
        move |s: SocketRef, data: Arguments, ack: AckSender| {
            let spec = Spec::of(&data);
            if let Some(event) = spec.to_event(data.attachments()) {
                match spec.from.as_deref() {
                    Some("self") => drop(s.emit_event(event)),
                    Some("parent") => {
                        for child in spec.select_children(&io) {
                            child.emit_event(event.clone());
                        }
                    }
                    _ => spec.select(&s).emit_event(event),
                }
            }
            answer(ack, &"ok");
            std::future::ready(())
        },
    );
    s.on("echo", async |data: Arguments, ack: AckSender| {
        ack.send_arguments(&data)
    });
    s.on("echo-event", async |s: SocketRef, data: Arguments| {
        let sent = Event::from_arguments("echoed", &data).and_then(|event| s.emit_event(event));
        if let Err(error) = sent {
            eprintln!("echo-event: {error}");
        }
    });
    s.on(
        "burst",
        async |s: SocketRef, Data((n, size)): Data<(u64, usize)>, ack: AckSender| {
            let padding = "x".repeat(size);
            let sent = (0..n)
                .filter(|i| s.emit("burst", &(i, &padding)).is_ok())
                .count();
            answer(ack, &sent);
        },
    );
    s.on(
        "flood",
        async |s: SocketRef, Data((n, size, room)): Data<(u64, usize, String)>, ack: AckSender| {
            let (padding, to) = ("x".repeat(size), s.within(room));
            let sent = (0..n)
                .filter(|i| to.emit("burst", &(i, &padding)).is_ok())
                .count();
            answer(ack, &sent);
        },
    );
}

fn asking(s: &SocketRef) {
    s.on(
        "broadcast-ack",
        async |s: SocketRef, Data(spec): Data<Spec>, ack: AckSender| {
            let acks = spec
                .select(&s)
                .emit_with_ack(spec.name(), &Tuple(spec.args()))
                .await
                .unwrap_or_default();
            let responses: Vec<Value> = acks
                .answers
                .iter()
                .filter_map(|(_, a)| a.read().ok())
                .collect();
            let error = (!acks.is_complete()).then_some("operation has timed out");
            answer(ack, &json!({ "responses": responses, "error": error }));
        },
    );
    s.on(
        "ask",
        async |s: SocketRef, data: Arguments, ack: AckSender| {
            let spec = Spec::of(&data);
            let Some(event) = spec.to_event(data.attachments()) else {
                return;
            };
            let (list, error, attachments) = match s.ask(event, spec.timeout()).await {
                Ok(answered) => (
                    json!(answered.values()),
                    Value::Null,
                    answered.attachments().to_vec(),
                ),
                Err(error) => (Value::Null, json!(error.to_string()), Vec::new()),
            };
            let about = json!({ "answer": list, "error": error });
            match Arguments::list_with(&[about], &attachments) {
                Ok(arguments) => ack.send_arguments(&arguments),
                Err(error) => eprintln!("ask: {error}"),
            }
        },
    );
}

/// Serialised as a tuple, so that it becomes an argument list whatever its length.
struct Tuple<'a>(&'a [Value]);

impl Serialize for Tuple<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for value in self.0 {
            tuple.serialize_element(value)?;
        }
        tuple.end()
    }
}

fn others(s: &SocketRef) {
    s.on(
        "fetch",
        async |s: SocketRef, Data(spec): Data<Spec>, ack: AckSender| {
            let mut fetched = spec.select(&s).fetch_sockets().await;
            fetched.sockets.sort_by(|a, b| a.id.cmp(&b.id));
            let sockets: Vec<Value> = fetched
                .sockets
                .iter()
                .map(|f| json!({ "id": f.id, "rooms": f.rooms, "data": f.data }))
                .collect();
            let missing: Vec<&str> = fetched
                .missing
                .iter()
                .map(chatcluster_socketio::NodeId::as_str)
                .collect();
            answer(ack, &json!({ "sockets": sockets, "missing": missing }));
        },
    );
    s.on(
        "sockets-join",
        async |s: SocketRef, Data((spec, rooms)): Data<(Spec, OneOrMany)>, ack: AckSender| {
            spec.select(&s).sockets_join(rooms.into_vec()).await;
            answer(ack, &"ok");
        },
    );
    s.on(
        "sockets-leave",
        async |s: SocketRef, Data((spec, rooms)): Data<(Spec, OneOrMany)>, ack: AckSender| {
            spec.select(&s).sockets_leave(rooms.into_vec()).await;
            answer(ack, &"ok");
        },
    );
    s.on(
        "server-side",
        async |s: SocketRef, Data((args, wait)): Data<(Vec<Value>, bool)>, ack: AckSender| {
            let namespace = s.namespace();
            if !wait {
                let sent = namespace.server_side_emit("relay", &Tuple(&args));
                return answer(ack, if sent.is_ok() { &"ok" } else { &"error" });
            }
            let asked = namespace
                .server_side_emit_with_ack("relay", &Tuple(&args), Duration::from_secs(5))
                .await;
            let asked = asked.unwrap_or_default();
            let mut responses: Vec<u64> = asked
                .answers
                .values()
                .filter_map(|a| a.read().ok())
                .collect();
            responses.sort_unstable();
            let missing: Vec<&str> = asked
                .missing
                .iter()
                .map(chatcluster_socketio::NodeId::as_str)
                .collect();
            answer(ack, &json!({ "responses": responses, "missing": missing }));
        },
    );
}

fn ending(s: &SocketRef) {
    s.on(
        "disconnect-sockets",
        async |s: SocketRef, Data((spec, close)): Data<(Spec, bool)>, ack: AckSender| {
            spec.select(&s).disconnect_sockets(close).await;
            answer(ack, &"ok");
        },
    );
    s.on("disconnect-me", async |s: SocketRef, data: Arguments| {
        if data.read().unwrap_or(false) {
            s.disconnect_all();
        } else {
            s.disconnect();
        }
    });
    s.on("close-engine", async |s: SocketRef| s.close_transport());
}
