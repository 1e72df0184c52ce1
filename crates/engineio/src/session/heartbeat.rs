//! When to ping, and when to give up. Pure: the wheel asks, the session acts.

use crate::clock::Micros;

/// While reading is paused a ping's deadline waits, but not longer than this many times the timeout.
pub(crate) const MOST_WAITS: u64 = 4;

/// The state of one session's heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    /// When the last pong came, or the ping went out if `is_awaiting`.
    since: Micros,
    /// When to give up, counted from `since`, in timeouts.
    waits: u8,
    is_awaiting: bool,
    /// Reading was paused since the ping, so the pong may be behind what was not read.
    was_paused: bool,
}

/// The two spans of the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) interval: Micros,
    pub(crate) timeout: Micros,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Send a ping and look again at this time.
    Ping(Micros),
    /// Look again at this time.
    Wait(Micros),
    /// Close the session.
    GiveUp,
}

impl Heartbeat {
    pub(crate) fn start(now: Micros) -> Self {
        Self {
            since: now,
            waits: 1,
            is_awaiting: false,
            was_paused: false,
        }
    }

    /// What to do at `now`. `is_late` says that the timer itself was held up, so that pongs may lie unread.
    pub(crate) fn beat(
        &mut self,
        now: Micros,
        spans: Spans,
        is_paused: bool,
        is_late: bool,
    ) -> Beat {
        if !self.is_awaiting {
            let due = self.since + spans.interval;
            if now < due {
                return Beat::Wait(due);
            }
            *self = Self {
                since: now,
                waits: 1,
                is_awaiting: true,
                was_paused: is_paused,
            };
            return Beat::Ping(now + spans.interval.min(spans.timeout));
        }
        let deadline = self.since + Micros(spans.timeout.0.saturating_mul(u64::from(self.waits)));
        if now < deadline {
            return Beat::Wait(deadline);
        }
        if is_late {
            (self.since, self.waits) = (now, 1);
            return Beat::Wait(now + spans.timeout);
        }
        let may_wait = is_paused || self.was_paused;
        if may_wait && u64::from(self.waits) < MOST_WAITS {
            self.waits += 1;
            self.was_paused = is_paused;
            return Beat::Wait(
                (self.since + Micros(spans.timeout.0 * u64::from(self.waits))).max(now),
            );
        }
        Beat::GiveUp
    }

    /// A pong arrived. One that nobody asked for means nothing.
    pub(crate) fn pong(&mut self, now: Micros) {
        if self.is_awaiting {
            *self = Self::start(now);
        }
    }

    pub(crate) fn paused(&mut self) {
        self.was_paused = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans {
        interval: Micros(300),
        timeout: Micros(200),
    };

    fn beat(heartbeat: &mut Heartbeat, now: u64) -> Beat {
        heartbeat.beat(Micros(now), SPANS, false, false)
    }

    #[test]
    fn the_next_ping_follows_the_pong_by_the_interval() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        assert_eq!(beat(&mut heartbeat, 299), Beat::Wait(Micros(300)));
        assert_eq!(beat(&mut heartbeat, 300), Beat::Ping(Micros(500)));
        heartbeat.pong(Micros(350));
        assert_eq!(beat(&mut heartbeat, 500), Beat::Wait(Micros(650)));
        assert_eq!(beat(&mut heartbeat, 650), Beat::Ping(Micros(850)));
    }

    #[test]
    fn without_a_pong_it_gives_up_at_the_timeout() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        beat(&mut heartbeat, 300);
        assert_eq!(beat(&mut heartbeat, 499), Beat::Wait(Micros(500)));
        assert_eq!(beat(&mut heartbeat, 500), Beat::GiveUp);
    }

    #[test]
    fn an_interval_shorter_than_the_timeout_is_kept() {
        let spans = Spans {
            interval: Micros(100),
            timeout: Micros(1000),
        };
        let mut heartbeat = Heartbeat::start(Micros(0));
        assert_eq!(
            heartbeat.beat(Micros(100), spans, false, false),
            Beat::Ping(Micros(200))
        );
        heartbeat.pong(Micros(101));
        assert_eq!(
            heartbeat.beat(Micros(200), spans, false, false),
            Beat::Wait(Micros(201))
        );
    }

    #[test]
    fn a_pong_that_nobody_asked_for_changes_nothing() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        heartbeat.pong(Micros(250));
        assert_eq!(beat(&mut heartbeat, 300), Beat::Ping(Micros(500)));
    }

    #[test]
    fn while_reading_is_paused_the_deadline_waits_up_to_four_timeouts() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        beat(&mut heartbeat, 300);
        heartbeat.paused();
        for deadline in [500, 700, 900] {
            let next = heartbeat.beat(Micros(deadline), SPANS, true, false);
            assert_eq!(next, Beat::Wait(Micros(deadline + 200)));
        }
        assert_eq!(
            heartbeat.beat(Micros(1100), SPANS, true, false),
            Beat::GiveUp
        );
    }

    #[test]
    fn after_a_pause_the_pong_gets_one_more_timeout() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        beat(&mut heartbeat, 300);
        heartbeat.paused();
        assert_eq!(beat(&mut heartbeat, 500), Beat::Wait(Micros(700)));
        assert_eq!(beat(&mut heartbeat, 700), Beat::GiveUp);
    }

    #[test]
    fn a_timer_that_was_held_up_does_not_kill() {
        let mut heartbeat = Heartbeat::start(Micros(0));
        beat(&mut heartbeat, 300);
        assert_eq!(
            heartbeat.beat(Micros(90_000), SPANS, false, true),
            Beat::Wait(Micros(90_200))
        );
        assert_eq!(beat(&mut heartbeat, 90_200), Beat::GiveUp);
    }
}
