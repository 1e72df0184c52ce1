//! Outgoing events: written once as JSON, turned into frames once per shape, shared by all receivers.

use std::fmt::Write as _;

use bytes::Bytes;
use chatcluster_engineio::Frame;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use socketioxide_core::Value;
use socketioxide_core::parser::Parse as _;
use socketioxide_parser_common::CommonParser;

use crate::arguments::Arguments;
use crate::log::AppendError;
use crate::packet::{Kind, encode, is_reserved, write_header};

/// The frames of one packet: the text and its attachments.
pub(crate) type Frames = SmallVec<[Frame; 1]>;

/// Why an event could not be made or sent.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The name is one of the protocol's own, such as `disconnect`.
    #[error("the event name {0:?} is reserved")]
    Reserved(String),
    /// The data cannot be written as JSON.
    #[error("write the data of event {event:?} as JSON")]
    Encode {
        /// The event's name.
        event: String,
        /// What the data's `Serialize` said.
        #[source]
        source: EncodeError,
    },
    /// The log's queue is full; nothing was sent. Try again later.
    #[error("the log is busy")]
    Busy,
    /// The log could not store the event; nothing was sent. Try again later.
    #[error("the log could not store the event")]
    NotStored,
    /// The log did not answer in time: the event may be sent yet.
    #[error("the log did not answer; the event may be in it")]
    Unanswered,
    /// The event is larger than the log takes; nothing was sent.
    #[error("the event is too large for the log")]
    TooLarge,
    /// The namespace is [`crate::Delivery::Ephemeral`]: it has no log; nothing was sent.
    #[error("the namespace has no log")]
    NoLog,
    /// The socket is no longer connected.
    #[error("the socket is closed")]
    Closed,
    /// The receiver's send queue is full (`maxSendQueue`); its connection is being closed.
    #[error("the send queue is full")]
    QueueFull,
}

/// The cause behind [`EmitError::Encode`].
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EncodeError(Box<dyn std::error::Error + Send + Sync>);

impl EmitError {
    pub(crate) fn encode(
        event: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Encode {
            event: event.to_owned(),
            source: EncodeError(Box::new(source)),
        }
    }
}

impl From<AppendError> for EmitError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            AppendError::NotStored => Self::NotStored,
            AppendError::Unanswered => Self::Unanswered,
            AppendError::TooLarge => Self::TooLarge,
            AppendError::NoLog => Self::NoLog,
            AppendError::Closed => Self::Closed,
        }
    }
}

/// An event that is ready to be sent: its name and arguments as JSON, its attachments.
///
/// [`Event::new`] suits nearly everything. [`Event::with_position`] leaves a place for the log position,
/// which is known only once the log has taken the event.
///
/// Its serialised form is for other nodes of the same cluster; what cannot be an event is refused when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Event {
    /// `["name",…` without the closing bracket.
    json: Box<str>,
    /// Where the position's digits go.
    position_at: Option<usize>,
    attachments: Vec<Bytes>,
}

/// What another node says an event is.
#[derive(Deserialize)]
struct Parts {
    json: Box<str>,
    position_at: Option<usize>,
    attachments: Vec<Bytes>,
}

/// The parts that another node sent are no event.
#[derive(Debug, thiserror::Error)]
#[error("not an event")]
struct NotAnEvent;

impl TryFrom<Parts> for Event {
    type Error = NotAnEvent;

    fn try_from(parts: Parts) -> Result<Self, NotAnEvent> {
        let Parts {
            json,
            position_at,
            attachments,
        } = parts;
        let has_place = position_at.is_none_or(|at| json.is_char_boundary(at));
        if !has_place || !json.starts_with("[\"") {
            return Err(NotAnEvent);
        }
        Ok(Self {
            json,
            position_at,
            attachments,
        })
    }
}

impl Event {
    /// Writes an event; a tuple is its argument list, anything else one argument.
    ///
    /// # Errors
    /// [`EmitError::Reserved`], [`EmitError::Encode`].
    pub fn new<T: Serialize + ?Sized>(name: &str, data: &T) -> Result<Self, EmitError> {
        check_name(name)?;
        let encoded = CommonParser
            .encode_value(data, Some(name))
            .map_err(|source| EmitError::encode(name, source))?;
        let Value::Str(json, attachments) = encoded else {
            return Self::from_arguments(name, &Arguments::default());
        };
        let json: &str = &json;
        Ok(Self {
            json: json.strip_suffix(']').unwrap_or(json).into(),
            position_at: None,
            attachments: attachments.unwrap_or_default().into(),
        })
    }

    /// Writes an event whose arguments are `before`, the event's position in the log as a number, then `after`.
    ///
    /// # Errors
    /// As [`Event::new`].
    pub fn with_position<A, B>(name: &str, before: &A, after: &B) -> Result<Self, EmitError>
    where
        A: Serialize + ?Sized,
        B: Serialize + ?Sized,
    {
        let mut event = Self::new(name, before)?;
        let after = Arguments::of(after).map_err(|source| EmitError::encode(name, source))?;
        let mut json = String::from(event.json);
        json.push(',');
        event.position_at = Some(json.len());
        if !after.json().is_empty() {
            json.push(',');
            json.push_str(after.json());
        }
        event.json = json.into();
        Ok(event)
    }

    /// One that nobody is sent.
    pub(crate) fn empty() -> Self {
        Self {
            json: "[\"\"".into(),
            position_at: None,
            attachments: Vec::new(),
        }
    }

    /// Passes arguments on as they came.
    ///
    /// # Errors
    /// [`EmitError::Reserved`].
    pub fn from_arguments(name: &str, arguments: &Arguments) -> Result<Self, EmitError> {
        check_name(name)?;
        let mut json = String::from("[");
        json.push_str(&serde_json::Value::from(name).to_string());
        if !arguments.json().trim().is_empty() {
            json.push(',');
            json.push_str(arguments.json());
        }
        Ok(Self {
            json: json.into(),
            position_at: None,
            attachments: arguments.attachments().to_vec(),
        })
    }

    /// Bytes that this event holds in memory, roughly.
    pub(crate) fn len_bytes(&self) -> usize {
        self.json.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The event's name and arguments as another node's listeners get them.
    pub(crate) fn to_incoming(&self) -> Option<(Box<str>, Arguments)> {
        let array = format!("{}]", self.json);
        Arguments::of_event(&array, self.attachments.clone()).ok()
    }

    /// Encodes for the wire: `position` fills the place left by [`Event::with_position`], `offset` becomes the last argument.
    pub(crate) fn frames(
        &self,
        namespace: &str,
        id: Option<u64>,
        position: u64,
        offset: Option<&str>,
    ) -> Frames {
        let kind = if self.attachments.is_empty() {
            Kind::Event
        } else {
            Kind::BinaryEvent
        };
        let mut text = String::with_capacity(self.json.len() + namespace.len() + 64);
        write_header(&mut text, kind, self.attachments.len(), namespace, id);
        let at = self.position_at.unwrap_or(self.json.len());
        text.push_str(&self.json[..at]);
        if self.position_at.is_some() {
            let _infallible = write!(text, "{position}");
            text.push_str(&self.json[at..]);
        }
        if let Some(offset) = offset {
            text.push_str(",\"");
            text.push_str(offset);
            text.push('"');
        }
        text.push(']');
        with_attachments(&text, &self.attachments)
    }
}

fn check_name(name: &str) -> Result<(), EmitError> {
    if is_reserved(name) {
        return Err(EmitError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// The frames of an acknowledgement.
pub(crate) fn ack_frames(namespace: &str, id: u64, arguments: &Arguments) -> Frames {
    let payload = format!("[{}]", arguments.json());
    if arguments.attachments().is_empty() {
        return text_frame(&encode(Kind::Ack, namespace, Some(id), &payload));
    }
    let mut text = String::new();
    let attachments = arguments.attachments();
    write_header(
        &mut text,
        Kind::BinaryAck,
        attachments.len(),
        namespace,
        Some(id),
    );
    text.push_str(&payload);
    with_attachments(&text, attachments)
}

/// One text packet as frames.
pub(crate) fn text_frame(text: &str) -> Frames {
    SmallVec::from_iter([Frame::text(text)])
}

fn with_attachments(text: &str, attachments: &[Bytes]) -> Frames {
    let mut frames = text_frame(text);
    frames.extend(attachments.iter().cloned().map(Frame::binary));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_takes_its_place_between_the_arguments() {
        let event = Event::with_position("chat message", &"hi", &("x",)).unwrap();
        let (name, arguments) = event.to_incoming_at(7);
        assert_eq!(&*name, "chat message");
        assert_eq!(arguments.json(), r#""hi",7,"x""#);
    }

    #[test]
    fn a_reserved_name_is_refused() {
        assert!(matches!(
            Event::new("disconnect", &()),
            Err(EmitError::Reserved(_))
        ));
    }

    #[test]
    fn arguments_are_passed_on_unchanged() {
        let (_, arguments) = Arguments::of_event(r#"["a",1,{"b":[2]}]"#, Vec::new()).unwrap();
        let event = Event::from_arguments("back \"q\"", &arguments).unwrap();
        let (name, again) = event.to_incoming().unwrap();
        assert_eq!(&*name, "back \"q\"");
        assert_eq!(again.json(), r#"1,{"b":[2]}"#);
    }

    impl Event {
        fn to_incoming_at(&self, position: u64) -> (Box<str>, Arguments) {
            let at = self.position_at.unwrap();
            let array = format!("{}{position}{}]", &self.json[..at], &self.json[at..]);
            Arguments::of_event(&array, Vec::new()).unwrap()
        }
    }
}
