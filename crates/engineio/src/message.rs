//! What a client sent, after the packet type is taken off.

use std::ops::Deref;

use bytes::Bytes;

/// One message from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message, without its packet type.
    Text(Text),
    /// A binary message.
    Binary(Bytes),
}

impl Message {
    /// The length of the content in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.as_bytes().len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Shared bytes that are known to be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// Checks the bytes; `None` if they are not UTF-8.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Checked again at each call, for `unsafe` is forbidden; on short ASCII that is a few nanoseconds.
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shared bytes themselves.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The text without its first byte, which must be ASCII.
    pub(crate) fn without_first(mut self) -> Self {
        debug_assert!(self.0.first().is_some_and(u8::is_ascii));
        bytes::Buf::advance(&mut self.0, 1);
        self
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}
