//! What goes wrong between the nodes and the broker, and in it.

use super::course::NODES;
use super::world::State;

/// The state of things.
#[derive(Default)]
pub(super) struct Weather {
    pub(super) is_down: bool,
    /// Answers come from one of several replicas, which may be behind.
    pub(super) has_replicas: bool,
    /// What the broker did not write to the disk may be lost with it.
    pub(super) loses_data: bool,
    is_calm: bool,
    log_leaderless_until: u64,
    kv_leaderless_until: u64,
    lossy_until: u64,
    slow_until: u64,
    /// Whoever knows what was lost must live to tell.
    pub(super) no_deaths_until: u64,
    /// When something was wrong last.
    pub(super) wrong_until: u64,
    /// When something was lost that had been stored.
    pub(super) accidents: Vec<u64>,
}

impl State {
    pub(super) fn delay(&mut self) -> u64 {
        let most = if self.now() < self.weather.slow_until {
            250
        } else {
            4
        };
        self.random.below(most) as u64
    }

    /// How long the broker takes until it answers.
    pub(super) fn think(&mut self) -> u64 {
        let most = if !self.weather.is_calm && self.random.one_in(60) {
            // Beyond what a call waits.
            1500
        } else {
            5
        };
        self.random.below(most) as u64
    }

    pub(super) fn is_answer_lost(&mut self) -> bool {
        self.now() < self.weather.lossy_until && self.random.one_in(3)
    }

    pub(super) fn is_log_leaderless(&self) -> bool {
        self.now() < self.weather.log_leaderless_until
    }

    pub(super) fn is_kv_leaderless(&self) -> bool {
        self.now() < self.weather.kv_leaderless_until
    }

    /// Something is wrong for so long.
    pub(super) fn wrong(&mut self, time: u64) {
        let until = self.now() + time;
        self.weather.wrong_until = self.weather.wrong_until.max(until);
    }

    fn accident(&mut self) {
        let now = self.now();
        self.weather.accidents.push(now);
        self.wrong(0);
    }

    /// Whether something was lost since then.
    pub(super) fn has_lost_since(&self, time: u64) -> bool {
        self.weather.accidents.iter().any(|at| *at >= time)
    }

    /// One thing goes wrong with the broker or on the way to it.
    pub(super) fn storm(&mut self, links: &[usize]) {
        let time = match self.random.below(4) {
            0 => 3000 + self.random.below(7000),
            _ => 100 + self.random.below(2500),
        } as u64;
        let link = *self.random.pick(links);
        let until = self.now() + time;
        let kind = self.random.below(20);
        self.note(format_args!("storm {kind} for {time} ms"));
        match kind {
            0..5 => self.cut(link),
            5..8 => self.stall(link, time),
            8..10 => self.weather.slow_until = until,
            10..12 => self.weather.lossy_until = until,
            12 | 13 => self.weather.log_leaderless_until = until,
            14 => self.weather.kv_leaderless_until = until,
            15 => self.broker.forget_consumers(|of| of == link),
            16 | 17 => self.stop(time),
            18 if self.weather.loses_data => self.spoil(),
            _ => self.cut(link),
        }
        self.wrong(time);
    }

    /// The broker goes, and comes back after a while; perhaps with less than it had.
    fn stop(&mut self, time: u64) {
        self.weather.is_down = true;
        self.note(format_args!("the broker is down for {time} ms"));
        self.cut_all();
        if self.weather.loses_data && self.random.one_in(2) {
            // No more than there is: what was removed before is no loss now.
            let count = self.random.below(6).min(self.broker.held());
            let end = self.broker.state().map_or(0, |log| log.last);
            // What only some have read can be lost without anybody's knowing that it was there, and who joins then does not
            // know either: nothing is promised for that.
            let is_known = self.links.agree_on(end.saturating_sub(count as u64), NODES);
            let count = if is_known { count } else { 0 };
            self.note(format_args!("it forgets {count} messages"));
            self.broker.set_back(count);
            self.links.log_ends(end.saturating_sub(count as u64));
            if count > 0 {
                self.accident();
                self.weather.no_deaths_until = self.now() + time + 10_000;
            }
        }
        self.after(time, |state| {
            state.weather.is_down = false;
            state.note(format_args!("the broker is up"));
        });
    }

    /// Somebody removes what clients may need.
    fn spoil(&mut self) {
        let what = self.random.below(3);
        self.note(format_args!("the log is spoilt: {what}"));
        match what {
            0 => self.broker.trim(0),
            1 => self.broker.trim(3),
            _ => {
                self.broker.delete();
                self.links.log_ends(0);
            }
        }
        self.accident();
    }

    /// From here on nothing goes wrong any more.
    pub(super) fn calm(&mut self) {
        self.note(format_args!("calm"));
        self.weather.is_calm = true;
        self.weather.log_leaderless_until = 0;
        self.weather.kv_leaderless_until = 0;
        self.weather.lossy_until = 0;
        self.weather.slow_until = 0;
        self.wrong(0);
    }
}
