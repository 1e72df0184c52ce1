//! Every format, byte for byte: what was written once must be readable, and what is written must be what others read.
//!
//! Until there is a release version 1 may still change: change its bytes here then, on purpose. After that a field more
//! waits until version 2 is written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chatcluster_socketio::adapter::{Answer, Cast, RemoteSocket, Request, Selection};
use chatcluster_socketio::log::{Envelope, Record, Target};
use chatcluster_socketio::session::{Ended, Interval, Record as Session};
use chatcluster_socketio::{Arguments, Event, NodeId, Sid};

use super::*;
use crate::epoch::Stored;
use crate::peers::{Note, RelayPlace};
use crate::pipeline::Logged;
use crate::requests::{Ask, Outcome, Reply};
use crate::sessions::Notice;

/// The committed bytes.
struct Files {
    seen: BTreeSet<String>,
}

impl Files {
    fn path(version: u8) -> PathBuf {
        let folder = format!("tests/formats/v{version}");
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    fn bytes(version: u8, name: &str) -> Vec<u8> {
        let file = Self::path(version).join(format!("{name}.hex"));
        let text = std::fs::read_to_string(&file);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// What was committed is what is written, in each version; and is read as the same value.
    fn hold<T: Serialize + DeserializeOwned>(&mut self, name: &str, value: &T) {
        for version in [VERSION, NEXT] {
            let committed = Self::bytes(version, name);
            let written = encode_as(version, value).unwrap();
            assert_eq!(
                written, committed,
                "{name}, version {version}: {written:02x?}"
            );
            let read: T = decode(&committed).unwrap();
            let again = encode_as(VERSION, &read).unwrap();
            assert_eq!(again, Self::bytes(VERSION, name), "{name} is read whole");
        }
        self.seen.insert(format!("{name}.hex"));
    }

    /// Nothing is committed that is not looked at.
    fn are_all(&self) {
        for version in [VERSION, NEXT] {
            let entries = std::fs::read_dir(Self::path(version)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            assert_eq!(names.collect::<BTreeSet<_>>(), self.seen);
        }
    }
}

fn sid() -> Sid {
    Sid::parse("AAECAwQFBgcICQoLDA0O").unwrap()
}

fn event() -> Event {
    let bytes = Bytes::from_static(&[0, 255]);
    Event::with_position("chat message", &("hi", &bytes), &("ada",)).unwrap()
}

fn rooms() -> Target {
    Target::Rooms(["a".into(), "b".into()].into_iter().collect())
}

fn selection(target: Target) -> Selection {
    Selection {
        target,
        except: ["c".into()].into_iter().collect(),
    }
}

fn logged(files: &mut Files) {
    let envelope = Envelope {
        target: rooms(),
        except: ["c".into()].into_iter().collect(),
        event: event(),
        announced_by: None,
    };
    let record = Record {
        key: [7; 16],
        room: "a".into(),
        body: Bytes::from_static(b"{}"),
    };
    let stored = Logged {
        envelope: envelope.clone(),
        record: Some(record),
    };
    files.hold("logged-stored", &stored);
    let unicast = Envelope {
        target: Target::Session(sid()),
        announced_by: Some(u64::MAX),
        ..envelope
    };
    let unicast = Logged {
        envelope: unicast,
        record: None,
    };
    files.hold("logged-unicast", &unicast);
}

fn casts(files: &mut Files) {
    let mut hold = |name: &str, cast: Cast| {
        files.hold(&format!("cast-{name}"), &(NodeId::new("n"), cast));
    };
    let (to, event) = (selection(rooms()), event());
    hold(
        "volatile",
        Cast::Volatile {
            to: to.clone(),
            event: event.clone(),
        },
    );
    hold(
        "server-side",
        Cast::ServerSide {
            event: event.clone(),
        },
    );
    let (sid, revision) = (sid(), 9);
    hold("evict", Cast::Evict { sid, revision });
    let is_volatile = false;
    hold(
        "ephemeral",
        Cast::Ephemeral {
            to,
            event,
            is_volatile,
        },
    );
}

fn requests(files: &mut Files) {
    let mut hold = |name: &str, request: Request| {
        let ask = Ask {
            node: NodeId::new("n"),
            id: 300,
            within: Duration::from_millis(5500),
            request,
        };
        files.hold(&format!("ask-{name}"), &ask);
    };
    let (all, event) = (selection(Target::All), event());
    let room = || ["r".into()].into_iter().collect();
    hold("fetch", Request::Fetch(all.clone()));
    hold("join", Request::Join(all.clone(), room()));
    hold("leave", Request::Leave(all.clone(), room()));
    hold("disconnect", Request::Disconnect(all.clone(), true));
    let broadcast = Request::BroadcastAck {
        to: all,
        event: event.clone(),
        timeout: Duration::from_secs(5),
    };
    hold("broadcast", broadcast);
    hold("server-side", Request::ServerSide { event });
}

fn replies(files: &mut Files) {
    let mut hold = |name: &str, outcome: Outcome| {
        let reply = Reply {
            node: NodeId::new("n"),
            id: 300,
            outcome,
        };
        files.hold(&format!("reply-{name}"), &reply);
    };
    let socket = RemoteSocket {
        id: sid().to_string(),
        node: "n".to_owned(),
        rooms: vec!["r".to_owned()],
        data: serde_json::json!({"name": "Zoë", "n": [1, null, 0.5]}),
    };
    let arguments = Arguments::of(&("yes", 1)).unwrap();
    let acks = vec![(sid(), Some(arguments.clone())), (sid(), None)];
    hold("sockets", Outcome::Answer(Answer::Sockets(vec![socket])));
    hold("done", Outcome::Answer(Answer::Done(3)));
    hold("acks", Outcome::Answer(Answer::Acks(acks)));
    let answer = Answer::ServerSide(Some(arguments));
    hold("server-side", Outcome::Answer(answer));
    hold("too-large", Outcome::TooLarge);
    hold("busy", Outcome::Busy);
    hold("closed", Outcome::Closed);
}

fn heartbeats(files: &mut Files) {
    let heartbeat = |relay| Note::Heartbeat {
        node: NodeId::new("n"),
        incarnation: u64::MAX,
        has_log: true,
        members: 300,
        relay,
    };
    files.hold("heartbeat-alone", &heartbeat(None));
    let place = |address: &str| RelayPlace {
        tag: "AAAAAAAA".to_owned(),
        address: address.parse().unwrap(),
    };
    let there = heartbeat(Some(place("[2001:db8::1]:3001")));
    files.hold("heartbeat-relay", &there);
    let there = heartbeat(Some(place("10.0.0.7:3001")));
    files.hold("heartbeat-relay-v4", &there);
    let farewell = Note::Farewell {
        node: NodeId::new("n"),
        incarnation: 7,
    };
    files.hold("farewell", &farewell);
}

fn stored(files: &mut Files) {
    let stay = |left| Interval {
        room: "r".into(),
        joined: 1_795_000_000_000_000,
        left,
        left_at: left,
    };
    let session = Session {
        intervals: vec![stay(None), stay(Some(1_795_000_000_000_009))],
        overflowed_at: Some(1_795_000_000_000),
        ended: Some(Ended::Gap),
        sid: sid(),
        data: r#"{"name":"Zoë"}"#.into(),
        ..crate::testing::session_of("n")
    };
    files.hold("session", &session);
    let mut notice = |name: &str, since, is_over| {
        files.hold(&format!("notice-{name}"), &Notice { since, is_over });
    };
    notice("begun", None, false);
    notice("over", Some(300), true);
    let epoch = Stored {
        epoch: 1_795_000_000,
        stream_created: -1,
    };
    files.hold("epoch", &epoch);
    files.hold("secret", &[9_u8; 32]);
}

#[test]
fn every_format_is_written_and_read_as_it_was_committed() {
    let mut files = Files {
        seen: BTreeSet::new(),
    };
    logged(&mut files);
    casts(&mut files);
    requests(&mut files);
    replies(&mut files);
    heartbeats(&mut files);
    stored(&mut files);
    files.are_all();
}

#[test]
fn a_field_that_is_missing_has_its_default() {
    let session = crate::testing::session_of("n");
    let mut fields = serde_json::to_value(&session).unwrap();
    for added in ["quiet", "ended"] {
        let there = fields.as_object_mut().unwrap().remove(added);
        assert!(there.is_some(), "{added}");
    }
    let older = encode_as(NEXT, &fields).unwrap();
    assert_eq!(decode::<Session>(&older).unwrap(), session);
}
