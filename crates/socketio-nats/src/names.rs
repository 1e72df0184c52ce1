//! Names on the broker that are made of events and sessions. Those of the cluster are in `chatcluster-nats-names`, which the
//! operator reads, too.

use chatcluster_nats_names::push_token;
pub use chatcluster_nats_names::{BadPrefix, Names, token};
use chatcluster_socketio::log::{Envelope, Target};
use chatcluster_socketio::{NodeId, SessionKey};

/// The log subject of an event, and the lane in which its sender's order must survive: all of one lane are published
/// one after another.
#[must_use]
pub fn log_subject(names: &Names, namespace: &str, envelope: &Envelope, node: &NodeId) -> String {
    // Written in place: it is made for every event.
    let mut subject = String::with_capacity(128);
    subject.push_str(names.prefix());
    subject.push_str(".log.");
    push_token(&mut subject, namespace);
    match &envelope.target {
        Target::Rooms(rooms) if rooms.len() == 1 && envelope.except.is_empty() => {
            subject.push_str(".r.");
            push_token(&mut subject, &rooms[0]);
        }
        Target::All if envelope.except.is_empty() => subject.push_str(".w"),
        Target::All | Target::Rooms(_) => subject.push_str(".m"),
        Target::Session(_) => {
            subject.push_str(".u.");
            push_token(&mut subject, node.as_str());
        }
    }
    subject
}

/// The log subject of several events of a namespace in one message.
#[must_use]
pub fn bundle_subject(names: &Names, namespace: &str) -> String {
    format!("{}.log.{}.m", names.prefix(), token(namespace))
}

/// A session's key in its bucket. Sessions of all namespaces share it: the `pid` is random.
#[must_use]
pub fn session_key(key: SessionKey) -> String {
    key.to_string()
}

/// What a session's key never begins with: it is hexadecimal.
const NOTICE: &str = "swept-";

/// The key of what a node is told about a sweep of its sessions.
#[must_use]
pub fn notice_key(node: &NodeId) -> String {
    let mut key = NOTICE.to_owned();
    push_token(&mut key, node.as_str());
    key
}

/// Whether a key of the sessions' bucket is a session's.
#[must_use]
pub fn is_session_key(key: &str) -> bool {
    !key.starts_with(NOTICE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_subject_tells_its_namespace(namespace in "/\\PC{0,120}", room in "\\PC{0,120}") {
            let names = Names::new("a.b").unwrap();
            let event = chatcluster_socketio::Event::new("e", &1).unwrap();
            let envelope = Envelope {
                target: Target::Rooms([room.as_str().into()].into_iter().collect()),
                except: [].into_iter().collect(),
                event,
                announced_by: None,
            };
            let subject = log_subject(&names, &namespace, &envelope, &NodeId::new("n"));
            let expected = token(&namespace);
            prop_assert_eq!(names.namespace_token(&subject), Some(expected.as_str()));
        }
    }
}
