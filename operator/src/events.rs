//! Events of Kubernetes about a ChatCluster: what was done, what went wrong, and that it is well again.
//!
//! Told are changes, not states: a failure that lasts is one event, and a condition.

use std::fmt::Write as _;

use chatcluster_chat_api::cluster::{ChatCluster, ChatClusterStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};

use crate::controller::Change;
use crate::controller::rollout::{Plan, Step};
use crate::metrics::Verb;
use crate::names::MANAGER;

/// The API server takes 1 kB.
const MAX_NOTE_CHARACTERS: usize = 1000;

/// Tells them.
pub(crate) struct Events(Recorder);

impl Events {
    /// Tells them in the name of the operator process `identity`.
    pub(crate) fn new(client: Client, identity: String) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(identity),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Tells what a look changed: in objects, in the rollout, and in the condition Degraded.
    pub(crate) async fn tell(
        &self,
        cluster: &ChatCluster,
        status: &ChatClusterStatus,
        changes: &[Change],
        steps: &[Plan],
    ) {
        let before = cluster
            .status
            .as_ref()
            .and_then(|status| degraded(&status.conditions));
        let events = done(changes)
            .into_iter()
            .chain(steps.iter().filter_map(stepped))
            .chain(went(before, degraded(&status.conditions)));
        for event in events {
            self.publish(&event, cluster).await;
        }
    }

    /// Tells why a deletion is held no longer.
    pub(crate) async fn tell_end(
        &self,
        cluster: &ChatCluster,
        is_warning: bool,
        reason: &str,
        note: &str,
    ) {
        let type_ = if is_warning {
            EventType::Warning
        } else {
            EventType::Normal
        };
        let event = event(type_, reason, "delete".to_owned(), note);
        self.publish(&event, cluster).await;
    }

    async fn publish(&self, event: &Event, cluster: &ChatCluster) {
        // An event is for people who look; a look does not fail because of one.
        if let Err(error) = self.0.publish(event, &cluster.object_ref(&())).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be told");
        }
    }
}

fn degraded(conditions: &[Condition]) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == "Degraded")
}

fn done(changes: &[Change]) -> Vec<Event> {
    [
        (Verb::Create, "Created"),
        (Verb::Apply, "Updated"),
        (Verb::Delete, "Deleted"),
    ]
    .into_iter()
    .filter_map(|(verb, reason)| {
        let mut note = String::new();
        for Change {
            verb: _,
            kind,
            name,
            field,
        } in changes.iter().filter(|change| change.verb == verb)
        {
            let comma = if note.is_empty() { "" } else { ", " };
            let field = field
                .as_ref()
                .map(|field| format!(" ({field})"))
                .unwrap_or_default();
            // A String takes whatever is written to it.
            write!(note, "{comma}{kind} {name}{field}").unwrap_or_default();
        }
        (!note.is_empty()).then(|| event(EventType::Normal, reason, verb.to_string(), &note))
    })
    .collect()
}

/// Steps of a rollout; not where new clients are sent, which changes for many pods at once.
fn stepped(plan: &Plan) -> Option<Event> {
    let type_ = match plan.step {
        Step::SetAccepting(..) | Step::Wait | Step::Done => return None,
        Step::ForceDelete(_) => EventType::Warning,
        Step::Write(_) | Step::Drain(_) | Step::Restart(_) => EventType::Normal,
    };
    let action = "rollout".to_owned();
    Some(event(type_, plan.reason.as_str(), action, &plan.message))
}

fn went(before: Option<&Condition>, now: Option<&Condition>) -> Option<Event> {
    let now = now?;
    let was = before.map_or("False", |before| &before.status);
    match (was, now.status.as_str()) {
        (_, "True")
            if before.is_none_or(|before| {
                (&before.reason, &before.message) != (&now.reason, &now.message)
            }) =>
        {
            Some(event(
                EventType::Warning,
                &now.reason,
                "reconcile".to_owned(),
                &now.message,
            ))
        }
        ("True", "False") => Some(event(
            EventType::Normal,
            "Recovered",
            "reconcile".to_owned(),
            "what was wrong is no longer so",
        )),
        _ => None,
    }
}

fn event(type_: EventType, reason: &str, action: String, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(MAX_NOTE_CHARACTERS).collect()),
        action,
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn condition(status: &str, reason: &str) -> Condition {
        Condition {
            type_: "Degraded".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: format!("{reason}, in words"),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    fn reasons(before: Option<&Condition>, now: &Condition) -> Option<String> {
        went(before, Some(now)).map(|event| event.reason)
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_too() {
        let (fine, failing) = (
            condition("False", "AsExpected"),
            condition("True", "SecretMissing"),
        );
        assert_eq!(reasons(None, &fine), None);
        assert_eq!(reasons(None, &failing).as_deref(), Some("SecretMissing"));
        assert_eq!(
            reasons(Some(&fine), &failing).as_deref(),
            Some("SecretMissing")
        );
        assert_eq!(reasons(Some(&failing), &failing), None);
        assert_eq!(
            reasons(Some(&failing), &condition("True", "ApplyRefused")).as_deref(),
            Some("ApplyRefused")
        );
        assert_eq!(reasons(Some(&failing), &fine).as_deref(), Some("Recovered"));
    }

    #[test]
    fn what_was_done_is_one_event_for_each_verb() {
        let change = |verb, kind: &str, field: Option<&str>| Change {
            verb,
            kind: kind.to_owned(),
            name: "chat".to_owned(),
            field: field.map(str::to_owned),
        };
        let events = done(&[
            change(Verb::Create, "Service", None),
            change(Verb::Apply, "StatefulSet", Some("spec.replicas")),
            change(Verb::Create, "Ingress", None),
        ]);
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.reason.as_str(), event.note.as_deref().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("Created", "Service chat, Ingress chat"),
                ("Updated", "StatefulSet chat (spec.replicas)")
            ]
        );
    }
}
