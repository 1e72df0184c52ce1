//! How often a connection may CONNECT: each one runs middleware, opens a session and may read history.

use std::time::Duration;

use tokio::time::Instant;

const SPAN: Duration = Duration::from_secs(60);

/// Counts in spans of a minute that begin with a CONNECT.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    count: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// True if one more is within the limit.
    pub(super) fn take(&mut self, now: Instant, limit: u32) -> bool {
        if now.duration_since(self.since) >= SPAN {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((0..3).all(|_| pace.take(start, 3)));
        assert!(!pace.take(start + SPAN - Duration::from_millis(1), 3));
        assert!(pace.take(start + SPAN, 3));
    }
}
