//! Conditions as Kubernetes keeps them: a time that moves only when the status does, and others' conditions left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::statements::{Statement, TYPES};

/// The longest message; Kubernetes takes 32 KiB, people read a line.
const MAX_MESSAGE_CHARACTERS: usize = 1024;

/// The statements as conditions, over those that were there.
pub(super) fn merge(
    before: &[Condition],
    statements: Vec<Statement>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = before.to_vec();
    // Times are kept in whole seconds by the API server; a finer one would differ from what comes back.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    for Statement {
        kind,
        status,
        reason,
        message,
    } in statements
    {
        let mut condition = Condition {
            type_: kind.to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(MAX_MESSAGE_CHARACTERS).collect(),
            observed_generation: generation,
            last_transition_time: Time(now),
        };
        match all.iter_mut().find(|old| old.type_ == kind) {
            Some(old) => {
                if old.status == condition.status {
                    condition.last_transition_time = old.last_transition_time.clone();
                }
                *old = condition;
            }
            None => all.push(condition),
        }
    }
    all
}

/// Those that the operator writes.
pub(super) fn own(all: &[Condition]) -> Vec<Condition> {
    all.iter()
        .filter(|condition| TYPES.contains(&condition.type_.as_str()))
        .cloned()
        .collect()
}
