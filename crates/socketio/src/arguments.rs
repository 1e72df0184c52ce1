//! The arguments of events and acknowledgements: JSON text with the binary attachments beside it.
//!
//! Values are read and written by `socketioxide-parser-common`: tuples are argument lists, anything else is one argument,
//! `Bytes` become attachments. Own code is only what that crate has no notion of: arguments passed on unread.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use socketioxide_core::parser::{Parse as _, ParserError};
use socketioxide_core::{Str, Value};
use socketioxide_parser_common::CommonParser;

use crate::packet::{Violation, is_reserved};

/// Arguments could not be read as the wanted type, or not be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("read or write the arguments of an event")]
pub struct Error(#[source] ParserError);

/// An argument list as it came from, or goes to, a client: unread JSON and its attachments.
///
/// An extractor too: a handler that takes `Arguments` can pass them on as they are.
#[derive(Clone, Default)]
pub struct Arguments {
    /// `[…]`: with the event's name as first element if `named`.
    array: Str,
    named: bool,
    /// Byte range of the arguments inside `array`, without brackets and name.
    inner: (usize, usize),
    attachments: Vec<Bytes>,
}

/// What nodes send each other.
#[derive(Serialize, Deserialize)]
struct Parts {
    json: String,
    attachments: Vec<Bytes>,
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = Parts {
            json: format!("[{}]", self.json()),
            attachments: self.attachments.clone(),
        };
        parts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts { json, attachments } = Parts::deserialize(deserializer)?;
        Self::of_ack(&json, attachments).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Debug for Arguments {
    /// Message bodies do not belong in logs: sizes only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arguments")
            .field("json_bytes", &(self.inner.1 - self.inner.0))
            .field("attachments", &self.attachments.len())
            .finish()
    }
}

impl Arguments {
    /// Writes a value as arguments: a tuple is a list, anything else is one argument.
    ///
    /// # Errors
    /// When the value's own `Serialize` fails, or a map has keys that are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let Value::Str(array, attachments) =
            CommonParser.encode_value(value, None).map_err(Error)?
        else {
            return Ok(Self::default());
        };
        let inner = (1, array.as_str().len() - 1);
        Ok(Self {
            array,
            named: false,
            inner,
            attachments: attachments.unwrap_or_default().into(),
        })
    }

    /// Writes a list of any length as arguments, one for each element.
    ///
    /// # Errors
    /// When an element's own `Serialize` fails.
    pub fn list<T: Serialize>(values: &[T]) -> Result<Self, Error> {
        let json =
            serde_json::to_string(values).map_err(|source| Error(ParserError::new(source)))?;
        let inner = (1, json.len() - 1);
        Ok(Self {
            array: json.into(),
            named: false,
            inner,
            attachments: Vec::new(),
        })
    }

    /// As [`Arguments::list`], with the attachments that placeholders in the values number.
    ///
    /// # Errors
    /// When an element's own `Serialize` fails.
    pub fn list_with<T: Serialize>(values: &[T], attachments: &[Bytes]) -> Result<Self, Error> {
        let mut arguments = Self::list(values)?;
        arguments.attachments = attachments.to_vec();
        Ok(arguments)
    }

    /// Reads the arguments: a tuple takes the list, anything else the first argument.
    ///
    /// # Errors
    /// When the JSON does not have the shape of `T`.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        let attachments: VecDeque<Bytes> = self.attachments.iter().cloned().collect();
        let mut value = Value::Str(
            self.array.clone(),
            (!attachments.is_empty()).then_some(attachments),
        );
        CommonParser
            .decode_value(&mut value, self.named)
            .map_err(Error)
    }

    /// The arguments as JSON values, however many there are; attachments show as placeholders.
    #[must_use]
    pub fn values(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&format!("[{}]", self.json())).unwrap_or_default()
    }

    /// Reads one JSON value that is not an argument list, such as an auth payload.
    pub(crate) fn read_one<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
        serde_json::from_str(json).map_err(|source| Error(ParserError::new(source)))
    }

    /// The arguments as JSON text without brackets; attachments show as placeholders.
    #[must_use]
    pub fn json(&self) -> &str {
        let array: &str = &self.array;
        array.get(self.inner.0..self.inner.1).unwrap_or("")
    }

    /// Bytes that the arguments hold, roughly.
    pub(crate) fn len_bytes(&self) -> usize {
        self.array.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The binary attachments in the order of their numbers.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// An acknowledgement's arguments from a packet.
    pub(crate) fn of_ack(data: &str, attachments: Vec<Bytes>) -> Result<Self, Violation> {
        serde_json::from_str::<Shape>(data).map_err(|_| Violation::InvalidPayload)?;
        Ok(Self {
            array: Str::copy_from_slice(data),
            named: false,
            inner: (1, data.trim_end().len() - 1),
            attachments,
        })
    }

    /// An event's name and arguments from a packet.
    pub(crate) fn of_event(
        data: &str,
        attachments: Vec<Bytes>,
    ) -> Result<(Box<str>, Self), Violation> {
        let shape: Shape = serde_json::from_str(data).map_err(|_| Violation::InvalidPayload)?;
        let first = shape.first.ok_or(Violation::InvalidPayload)?.get();
        let name = event_name(first)?;
        // `first` is a slice of `data`: what follows it is the rest of the list.
        let after = first.as_ptr() as usize - data.as_ptr() as usize + first.len();
        let end = data.trim_end().len() - 1;
        let start = data[after..end]
            .find(',')
            .map_or(end, |comma| after + comma + 1);
        let arguments = Self {
            array: Str::copy_from_slice(data),
            named: true,
            inner: (start, end),
            attachments,
        };
        Ok((name.into(), arguments))
    }
}

fn event_name(first: &str) -> Result<Cow<'_, str>, Violation> {
    if first.starts_with('"') {
        let name: String = serde_json::from_str(first).map_err(|_| Violation::InvalidPayload)?;
        if is_reserved(&name) {
            return Err(Violation::ReservedEvent);
        }
        return Ok(Cow::Owned(name));
    }
    // The reference takes numbers as event names too.
    match first.bytes().next() {
        Some(b'0'..=b'9' | b'-') => Ok(Cow::Borrowed(first)),
        _ => Err(Violation::InvalidPayload),
    }
}

/// The outer shape of a payload: an array; everything in it is valid JSON.
struct Shape<'a> {
    first: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArrayVisitor;
        impl<'de> Visitor<'de> for ArrayVisitor {
            type Value = Shape<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let first = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Shape { first })
            }
        }
        deserializer.deserialize_seq(ArrayVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(data: &str) -> (Box<str>, Arguments) {
        Arguments::of_event(data, Vec::new()).unwrap()
    }

    #[test]
    fn an_event_gives_its_name_and_the_rest() {
        let (name, arguments) = event(r#" ["say \"hi\"" , 1, "a,b" ] "#.trim());
        assert_eq!(&*name, "say \"hi\"");
        assert_eq!(arguments.json().trim(), r#"1, "a,b""#);
        assert_eq!(arguments.read::<(u8, String)>().unwrap(), (1, "a,b".into()));
        assert_eq!(arguments.read::<u8>().unwrap(), 1);
    }

    #[test]
    fn an_event_without_arguments_has_an_empty_list() {
        let (name, arguments) = event(r#"["ping"]"#);
        assert_eq!(&*name, "ping");
        assert_eq!(arguments.json(), "");
        assert!(arguments.read::<String>().is_err());
    }

    #[test]
    fn arguments_survive_the_way_to_another_node() {
        let (_, arguments) = Arguments::of_event(
            r#"["file", {"_placeholder":true,"num":0} ,2]"#,
            vec![Bytes::from_static(b"abc")],
        )
        .unwrap();
        let sent = serde_json::to_string(&arguments).unwrap();
        let got: Arguments = serde_json::from_str(&sent).unwrap();
        let read: (Bytes, u8) = got.read().unwrap();
        assert_eq!(read, (Bytes::from_static(b"abc"), 2));
        let broken = r#"{"json":"[1","attachments":[]}"#;
        assert!(serde_json::from_str::<Arguments>(broken).is_err());
    }

    #[test]
    fn attachments_take_the_place_of_their_placeholders() {
        let data = r#"["file",{"_placeholder":true,"num":0}]"#;
        let (_, arguments) = Arguments::of_event(data, vec![Bytes::from_static(b"abc")]).unwrap();
        assert_eq!(
            arguments.read::<Bytes>().unwrap(),
            Bytes::from_static(b"abc")
        );
    }

    #[test]
    fn reserved_and_malformed_names_are_refused() {
        for (data, violation) in [
            (r#"["connect"]"#, Violation::ReservedEvent),
            (r#"["newListener",1]"#, Violation::ReservedEvent),
            ("[]", Violation::InvalidPayload),
            ("[null]", Violation::InvalidPayload),
            ("[{}]", Violation::InvalidPayload),
            (r#"["a","#, Violation::InvalidPayload),
            (r#"["a"]x"#, Violation::InvalidPayload),
        ] {
            assert_eq!(
                Arguments::of_event(data, Vec::new()).unwrap_err(),
                violation,
                "{data}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(data in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}") {
            if let Ok((_, arguments)) = Arguments::of_event(&data, Vec::new()) {
                let again = format!("[{}]", arguments.json());
                prop_assert!(serde_json::from_str::<Vec<serde_json::Value>>(&again).is_ok(), "{}", again);
            }
            drop(Arguments::of_ack(&data, Vec::new()));
        }
    }
}
