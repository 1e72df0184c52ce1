//! What the relay counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Counts of one server. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Requests brought to other servers.
    pub relayed: Family<Relayed, Counter>,
    /// Requests brought here by other servers.
    pub arrived: Family<Arrived, Counter>,
    /// Requests and WebSockets that are being relayed.
    pub under_way: Gauge,
}

/// A request brought to another server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Relayed {
    /// `poll`, `post` or `websocket`.
    pub kind: &'static str,
    /// One of `Outcome`.
    pub outcome: &'static str,
}

/// A request brought here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Arrived {
    /// `served`, or `refused` for want of a token or a session id.
    pub outcome: &'static str,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Poll,
    Post,
    WebSocket,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Poll, Self::Post, Self::WebSocket];

    fn label(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Post => "post",
            Self::WebSocket => "websocket",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The owner answered.
    Ok,
    /// There is no such server, or nobody listens at its address.
    Gone,
    /// The owner did not let this server in.
    Refused,
    /// The connection broke, or the answer did not come in time.
    Failed,
    /// Too many are under way, or the body is too large: not sent.
    Rejected,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Ok,
        Self::Gone,
        Self::Refused,
        Self::Failed,
        Self::Rejected,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Gone => "gone",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

impl Measures {
    /// One more request was brought to another server, or was not.
    pub(super) fn relayed(&self, kind: Kind, outcome: Outcome) {
        self.relayed.get_or_create(&labels(kind, outcome)).inc();
    }

    /// One more request was brought here.
    pub(super) fn arrived(&self, is_served: bool) {
        let outcome = if is_served { "served" } else { "refused" };
        self.arrived.get_or_create(&Arrived { outcome }).inc();
    }
}

pub(super) fn labels(kind: Kind, outcome: Outcome) -> Relayed {
    Relayed {
        kind: kind.label(),
        outcome: outcome.label(),
    }
}

/// All counts are there from the start: one that begins to exist with its first event hides that event from `rate`.
impl Default for Measures {
    fn default() -> Self {
        let relayed = Family::<Relayed, Counter>::default();
        for kind in Kind::ALL {
            for outcome in Outcome::ALL {
                drop(relayed.get_or_create(&labels(kind, outcome)));
            }
        }
        let arrived = Family::<Arrived, Counter>::default();
        for outcome in ["served", "refused"] {
            drop(arrived.get_or_create(&Arrived { outcome }));
        }
        Self {
            relayed,
            arrived,
            under_way: Gauge::default(),
        }
    }
}
