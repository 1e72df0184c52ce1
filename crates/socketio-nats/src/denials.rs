//! What NATS denies this node. The server does not answer a request that it denies, so the request times out; only an event
//! of the connection says why.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::counters::Counters;

/// How the server's error begins.
const MARK: &str = "permissions violation for ";
/// Denials that are told, each once; what else is denied is only counted. Subjects with a session's key are without number.
const MAX_TOLD: usize = 64;
/// A subscription is what a denial begins with, if it is one.
const SUBSCRIPTION: &str = "subscription";
/// How long a denied message stands for a permission that is missing. It is asked for again and again while it is needed; once
/// it has been given nothing else says so.
const RECENT: Duration = Duration::from_secs(60);

/// What this node was denied.
#[derive(Default)]
pub(crate) struct Denials {
    told: Mutex<BTreeSet<String>>,
    first: watch::Sender<Option<String>>,
    now: Mutex<Now>,
}

/// What the connection that there is lacks.
#[derive(Default)]
struct Now {
    /// Asked for once in a connection: until the next one nothing comes by it.
    subscription: Option<String>,
    message: Option<(Instant, String)>,
}

impl Denials {
    /// Takes an error of the server. False if it is about something else.
    pub(crate) fn take(&self, error: &str, counters: &Counters) -> bool {
        // By bytes: an error is text of the server, and may hold anything.
        let begins = error.get(..MARK.len());
        if !begins.is_some_and(|begin| begin.eq_ignore_ascii_case(MARK)) {
            return false;
        }
        counters.permissions_violated.increment();
        let denied = &error[MARK.len()..];
        self.note(denied);
        let mut told = self.told.lock();
        if told.len() < MAX_TOLD && told.insert(denied.to_owned()) {
            tracing::warn!(
                denied,
                "NATS denies this node what it needs: see the permissions in docs/operations.md"
            );
            self.first.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| denied.to_owned());
                is_first
            });
        }
        true
    }

    fn note(&self, denied: &str) {
        let mut now = self.now.lock();
        let begins = denied.get(..SUBSCRIPTION.len());
        if begins.is_some_and(|begin| begin.eq_ignore_ascii_case(SUBSCRIPTION)) {
            now.subscription.get_or_insert_with(|| denied.to_owned());
        } else {
            now.message = Some((Instant::now(), denied.to_owned()));
        }
    }

    /// Another connection was made: it is asked for everything anew.
    pub(crate) fn connected(&self) {
        *self.now.lock() = Now::default();
    }

    /// What this node needs and is denied, as far as is known now.
    pub(crate) fn now(&self) -> Option<String> {
        let now = self.now.lock();
        let recent = now.message.as_ref();
        let recent = recent.filter(|(at, _)| at.elapsed() < RECENT);
        let denied = now.subscription.as_ref();
        denied.or(recent.map(|(_, denied)| denied)).cloned()
    }

    /// Resolves with what was denied first.
    pub(crate) async fn first(&self) -> String {
        let mut first = self.first.subscribe();
        // The sender is here: it is not dropped meanwhile.
        match first.wait_for(Option::is_some).await {
            Ok(denied) => denied.clone().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// What was denied first, if anything.
    pub(crate) fn seen(&self) -> Option<String> {
        self.first.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_known_by_its_subject() {
        let (denials, counters) = (Denials::default(), Counters::default());
        for error in [
            "Permissions Violation for Publish to \"chat.node\"",
            "Permissions Violation for Subscription to \"chat.cast.x\"",
            "Permissions Violation for Publish to \"chat.node\"",
        ] {
            assert!(denials.take(error, &counters));
        }
        assert!(!denials.take("stale connection", &counters));
        assert!(!denials.take("Permissions Violation för", &counters));
        assert_eq!(denials.seen().unwrap(), "Publish to \"chat.node\"");
        assert_eq!(counters.permissions_violated.get(), 3);
        assert_eq!(denials.told.lock().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_holds_until_the_next_connection_or_while_it_is_repeated() {
        let (denials, counters) = (Denials::default(), Counters::default());
        let take = |denied: &str| denials.take(&format!("{MARK}{denied}"), &counters);
        assert!(take("Publish to \"chat.node\""));
        tokio::time::advance(RECENT / 2).await;
        assert_eq!(denials.now().unwrap(), "Publish to \"chat.node\"");
        tokio::time::advance(RECENT / 2).await;
        assert_eq!(denials.now(), None, "it may have been given meanwhile");
        assert!(take("Subscription to \"chat.cast.x\""));
        tokio::time::advance(10 * RECENT).await;
        assert_eq!(denials.now().unwrap(), "Subscription to \"chat.cast.x\"");
        denials.connected();
        assert_eq!(denials.now(), None);
    }

    #[test]
    fn denials_without_number_are_counted_and_not_kept() {
        let (denials, counters) = (Denials::default(), Counters::default());
        for key in 0..1000 {
            let error = format!("Permissions Violation for Publish to \"$KV.s.{key}\"");
            assert!(denials.take(&error, &counters));
        }
        assert_eq!(denials.told.lock().len(), MAX_TOLD);
        assert_eq!(counters.permissions_violated.get(), 1000);
    }
}
