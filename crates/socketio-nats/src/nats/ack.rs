//! What JetStream answers to a publish, as much of it as is needed.
//!
//! The client library keeps the whole of it to try one form after another.

use serde::Deserialize;

/// An acknowledgement or a refusal.
#[derive(Deserialize)]
pub(super) struct Ack {
    /// Where the message is; 0 in a refusal.
    #[serde(default)]
    pub(super) seq: u64,
    /// The stream had one with this id.
    #[serde(default)]
    pub(super) duplicate: bool,
    pub(super) error: Option<Refusal>,
}

/// Why a stream did not take a message.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl Ack {
    /// `None` if it is neither an acknowledgement nor a refusal.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let ack: Self = serde_json::from_slice(payload).ok()?;
        (ack.seq > 0 || ack.error.is_some()).then_some(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_says_where_the_message_is() {
        let first = Ack::read(br#"{"stream":"s","seq":7}"#).unwrap();
        assert_eq!((first.seq, first.duplicate), (7, false));
        let again = Ack::read(br#"{"stream":"s","domain":"d","seq":7,"duplicate":true}"#).unwrap();
        assert_eq!((again.seq, again.duplicate), (7, true));
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"s","seq":0}"#;
        let refusal = Ack::read(refusal).unwrap().error.unwrap();
        assert_eq!(
            (refusal.err_code, &*refusal.description),
            (10077, "maximum bytes exceeded")
        );
    }

    #[test]
    fn what_says_nothing_of_a_position_is_none() {
        for strange in [&b"{}"[..], b"+OK", b"", br#"{"stream":"s","seq":0}"#] {
            assert!(Ack::read(strange).is_none());
        }
    }
}
