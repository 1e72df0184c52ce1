//! What counts at this moment of the settings that may change while the server runs.
//!
//! Whoever needs one asks at each use and keeps nothing. `reload` changes them, all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use chatcluster_chat_api as api;

use crate::auth::Authenticator;
use crate::limits::{Connections, EventRate};
use crate::{files, node, telemetry};

/// The settings, shared by all nodes.
#[derive(Debug)]
pub struct Live {
    settings: ArcSwap<Settings>,
    connections: Connections,
    http_connections: Arc<AtomicUsize>,
}

/// The settings of one moment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may connect.
    pub authenticator: Arc<Authenticator>,
    /// What clients may take.
    pub limits: api::Limits,
    /// The pace of one client's events.
    pub rate: EventRate,
    /// How much of the history clients are sent.
    pub history: api::History,
    /// How the server ends.
    pub drain: api::Drain,
}

impl Live {
    /// As the server starts.
    #[must_use]
    pub fn new(config: &api::Config, authenticator: Authenticator) -> Self {
        let limits = config.limits.clone();
        Self {
            connections: Connections::new(limits.connections, limits.connections_per_address),
            http_connections: Arc::new(node::http_connections(&limits).into()),
            settings: ArcSwap::from_pointee(Settings {
                authenticator: Arc::new(authenticator),
                rate: EventRate::new(limits.events_per_second, limits.events_burst),
                limits,
                history: config.history.clone(),
                drain: config.drain.clone(),
            }),
        }
    }

    /// Those that count now.
    pub fn now(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Connections of all nodes.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// The most connections of a node that are no WebSocket.
    #[must_use]
    pub fn http_connections(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.http_connections)
    }

    /// From now on these keys count.
    pub(crate) fn take_keys(&self, authenticator: Authenticator) {
        let settings = self.now();
        self.settings.store(Arc::new(Settings {
            authenticator: Arc::new(authenticator),
            ..Settings::clone(&settings)
        }));
    }

    /// From now on this configuration counts; without an authenticator the one that is there. Who is connected stays so.
    pub(crate) fn take(&self, config: &api::Config, authenticator: Option<Authenticator>) {
        let before = self.now();
        let limits = config.limits.clone();
        files::raise_limit(limits.connections);
        self.connections
            .limit(limits.connections, limits.connections_per_address);
        let http = node::http_connections(&limits);
        self.http_connections.store(http, Ordering::Relaxed);
        telemetry::set_level(config.log_level);
        self.settings.store(Arc::new(Settings {
            authenticator: authenticator
                .map_or_else(|| Arc::clone(&before.authenticator), Arc::new),
            rate: before
                .rate
                .changed(limits.events_per_second, limits.events_burst),
            limits,
            history: config.history.clone(),
            drain: config.drain.clone(),
        }));
    }
}
