//! Socket.IO packets as a client reads and writes them, independent of the server's own code.

use bytes::Bytes;
use chatcluster_socketio::Offset;
use serde_json::Value;

/// Something that the server sent, in its place among everything else.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// The client is in the namespace.
    Connected(String, Value),
    /// The namespace refused the client.
    Refused(String, Value),
    /// An event.
    Event(Event),
    /// The answer to an event with this id.
    Ack(u64, Vec<Value>, Vec<Bytes>),
    /// The server disconnected the client from the namespace.
    Disconnected(String),
}

impl Received {
    /// The event, if it is one.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

/// An event as a client gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its arguments, without the offset.
    pub args: Vec<Value>,
    /// What the server put behind them.
    pub offset: Option<Offset>,
    /// The last argument if it is a string and no acknowledgement is asked for: what a client takes for the offset.
    pub(crate) trailing: Option<String>,
    /// The id of the acknowledgement that is asked for.
    pub id: Option<u64>,
    /// The attachments.
    pub attachments: Vec<Bytes>,
}

impl Event {
    /// The log position that the offset names.
    ///
    /// # Panics
    /// When the event carries none.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset
            .unwrap_or_else(|| panic!("no offset on {self:?}"))
            .position
    }
}

/// A packet whose attachments may be missing yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    kind: u8,
    pub(crate) missing: usize,
    namespace: String,
    id: Option<u64>,
    json: Value,
    pub(crate) attachments: Vec<Bytes>,
}

impl Incoming {
    /// Reads the text behind Engine.IO's `4`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let kind = *text.as_bytes().first()?;
        let mut rest = text.get(1..)?;
        let mut missing = 0;
        if matches!(kind, b'5' | b'6') {
            let (count, after) = rest.split_once('-')?;
            missing = count.parse().ok()?;
            rest = after;
        }
        let mut namespace = "/".to_owned();
        if rest.starts_with('/') {
            let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
            namespace = name.to_owned();
            rest = after;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let id = (digits > 0)
            .then(|| rest[..digits].parse())
            .transpose()
            .ok()?;
        let json = match &rest[digits..] {
            "" => Value::Null,
            json => serde_json::from_str(json).ok()?,
        };
        Some(Self {
            kind,
            missing,
            namespace,
            id,
            json,
            attachments: Vec::new(),
        })
    }

    /// What the whole packet says.
    pub(crate) fn finish(self) -> Option<Received> {
        let namespace = self.namespace;
        match self.kind {
            b'0' => Some(Received::Connected(namespace, self.json)),
            b'1' => Some(Received::Disconnected(namespace)),
            b'4' => Some(Received::Refused(namespace, self.json)),
            b'3' | b'6' => {
                let args = self.json.as_array()?.clone();
                Some(Received::Ack(self.id?, args, self.attachments))
            }
            b'2' | b'5' => {
                let mut args = self.json.as_array()?.clone();
                let name = args.remove(0).as_str()?.to_owned();
                let trailing = args.last().and_then(Value::as_str).map(str::to_owned);
                let trailing = trailing.filter(|_| self.id.is_none());
                let offset = trailing.as_deref().and_then(|text| text.parse().ok());
                if offset.is_some() {
                    args.pop();
                }
                Some(Received::Event(Event {
                    namespace,
                    name,
                    args,
                    offset,
                    trailing,
                    id: self.id,
                    attachments: self.attachments,
                }))
            }
            _ => None,
        }
    }
}

/// Writes a packet behind Engine.IO's `4`. `attachments` makes it a binary one.
pub(crate) fn write(
    kind: u8,
    namespace: &str,
    id: Option<u64>,
    json: &Value,
    attachments: usize,
) -> String {
    let mut text = format!("4{}", char::from(kind));
    if attachments > 0 {
        text.push_str(&format!("{attachments}-"));
    }
    if namespace != "/" {
        text.push_str(namespace);
        text.push(',');
    }
    if let Some(id) = id {
        text.push_str(&id.to_string());
    }
    if !json.is_null() {
        text.push_str(&json.to_string());
    }
    text
}
