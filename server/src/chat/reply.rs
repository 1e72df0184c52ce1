//! Answers: what an event is acknowledged with, and refusals.

use chatcluster_socketio::log::{AppendError, Appended};
use chatcluster_socketio::{AckSender, ConnectError};
use serde::Serialize;
use serde_json::json;

use super::Chat;
use super::visitor::Visitor;
use crate::codes::{Code, Refusal};

/// Acknowledges; a client that has gone will ask again.
pub(super) fn answer<T: Serialize>(ack: AckSender, data: &T) {
    if let Err(error) = ack.send(data) {
        tracing::error!(%error, "write an acknowledgement");
    }
}

/// What the log said, in the protocol's codes.
pub(crate) fn refusal_of(error: AppendError) -> Code {
    match error {
        AppendError::Busy => Code::StoreBusy,
        AppendError::NotStored | AppendError::NoLog => Code::StoreFailed,
        AppendError::Unanswered => Code::StoreUnanswered,
        AppendError::TooLarge => Code::ContentLength,
        AppendError::Closed => Code::Draining,
    }
}

impl Chat {
    /// Acknowledges with the result, or refuses.
    pub(super) fn reply<T: Serialize>(
        &self,
        visitor: &Visitor,
        ack: AckSender,
        result: Result<T, Refusal>,
    ) {
        match result {
            Ok(data) => answer(ack, &data),
            Err(refusal) => self.refuse(visitor, ack, refusal),
        }
    }

    /// Refuses an event. A client that does not read refusals takes any acknowledgement for success: it is not
    /// answered where its own retries can still succeed.
    pub(super) fn refuse(&self, visitor: &Visitor, ack: AckSender, refusal: Refusal) {
        self.count(&refusal);
        if !refusal.code.retry() || visitor.claim.is_retryable {
            answer(ack, &json!({ "error": refusal }));
        }
    }

    pub(super) fn refuse_connect(&self, refusal: &Refusal) -> ConnectError {
        self.count(refusal);
        ConnectError::new(refusal.code.message()).with_data(json!(refusal))
    }

    fn count(&self, refusal: &Refusal) {
        self.0.metrics.count_refusal(refusal.code);
        tracing::debug!(
            code = refusal.code.number(),
            field = refusal.field,
            "a client was refused"
        );
    }

    /// Acknowledges a message once the log has decided.
    pub(super) fn reply_appended(
        &self,
        visitor: &Visitor,
        ack: AckSender,
        result: Result<Appended, AppendError>,
    ) {
        let stored = result.map(|appended| json!({ "serverOffset": appended.position, "duplicate": appended.is_duplicate }));
        self.reply(
            visitor,
            ack,
            stored.map_err(|error| refusal_of(error).into()),
        );
    }
}
