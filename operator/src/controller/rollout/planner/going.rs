//! Which pod goes next, and what has to be before it does.

use super::super::{Plan, Pod, Reason, Server, Shape, Step};
use super::view::{View, count, is_useless, is_vacant, number, plan};

/// How a pod goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It comes back new.
    Replace,
    /// It was the lowest.
    Low,
    /// It was the highest.
    High,
}

impl View<'_> {
    /// The next pod that goes: drained first, and alone.
    pub(super) fn take(&self) -> Option<Plan> {
        let (index, way) = self.next_to_go()?;
        if let Some(ending) = self.ending() {
            return ending;
        }
        let Some(pod) = self.slots[index] else {
            // It is not there, and shall not come.
            return (way == Way::High)
                .then(|| self.remove(index, way))
                .flatten();
        };
        if is_vacant(pod) {
            return self.remove(index, way);
        }
        if let Server::Draining(left) = pod.server {
            return plan(Step::Wait, Reason::PodDraining, || {
                format!("pod {} lets its clients go; left: {left}", pod.name)
            });
        }
        if self.wanted > 0
            && let Some(obstacle) = self.obstacle(pod)
        {
            return Some(obstacle);
        }
        if let Some(pause) = self.pause(pod) {
            return Some(pause);
        }
        self.drain(pod)
    }

    fn next_to_go(&self) -> Option<(usize, Way)> {
        let last = self.slots.len().checked_sub(1)?;
        if self.wanted == 0 {
            return Some((last, Way::High));
        }
        let old: Vec<usize> = self.old().collect();
        let surplus = self.surplus();
        let Some(&highest) = old.last() else {
            return (surplus > 0).then_some((last, Way::High));
        };
        // One that does not get ready goes once there is one that its clients, if it has any, can go to.
        let has_new = self.staying().any(|pod| pod.is_ready);
        let is_empty = |index: usize| {
            let may_go = |pod| is_vacant(pod) || (has_new && is_useless(pod));
            self.slots[index].is_some_and(may_go)
        };
        let is_old_below = old[0] == 0;
        // The last pod too many goes last: until then it stands in for the one that is being replaced.
        let is_spare = surplus > 1 || old.len() == 1;
        if surplus > 0 && is_old_below && (old.len() == 1 || is_empty(0)) {
            return Some((0, Way::Low));
        }
        if surplus > 0 && !is_old_below && highest == last && is_spare {
            return Some((last, Way::High));
        }
        // What serves nobody can be missed, and may come back as the new one that the others wait for.
        if is_empty(highest) {
            return Some((highest, Way::Replace));
        }
        if surplus > 1 && is_old_below {
            return Some((0, Way::Low));
        }
        (surplus > 0).then_some((highest, Way::Replace))
    }

    /// One pod ends at a time.
    pub(super) fn ending(&self) -> Option<Option<Plan>> {
        let leaving = self.seen.pods.iter().find(|pod| self.is_ending(pod))?;
        Some(plan(Step::Wait, Reason::PodEnding, || {
            format!("pod {} is ending", leaving.name)
        }))
    }

    /// Why a pod that may have clients must wait.
    fn obstacle(&self, pod: &Pod) -> Option<Plan> {
        let others = || {
            self.present()
                .filter(|other| other.ordinal != pod.ordinal)
                .filter(|other| other.leaves_by.is_none())
        };
        let available = others().filter(|other| other.is_available).count();
        let is_missing = self.slots.iter().any(Option::is_none);
        let may_be_spared = number(available) >= self.wanted;
        if !pod.is_accepting && (may_be_spared || pod.is_stuck) {
            return None;
        }
        let waits_for = others().find(|other| !other.is_available);
        let message = || match waits_for {
            Some(other) => format!("pod {} goes when pod {} is ready", pod.name, other.name),
            None if is_missing => format!(
                "pod {} goes when those that are missing are there",
                pod.name
            ),
            None => format!("pod {} goes when another one takes new clients", pod.name),
        };
        plan(Step::Wait, Reason::PodNotReady, message)
    }

    /// Why an old pod that serves goes a little later. The time is read off the new pods, so that an operator that was started
    /// again neither begins the pause anew nor leaves it out.
    fn pause(&self, pod: &Pod) -> Option<Plan> {
        let is_of_rollout =
            self.wanted > 0 && !pod.is_stuck && pod.revision != self.seen.update_revision;
        let newest = self.new_pods().max_by_key(|pod| pod.ready_since)?;
        let until = newest.ready_since? + self.pause_seconds;
        if !is_of_rollout || self.seen.now >= until {
            return None;
        }
        let seconds = self.pause_seconds;
        Some(Plan {
            step: Step::Wait,
            reason: Reason::Pausing,
            message: format!(
                "pod {} goes when pod {} has been ready for {seconds} seconds",
                pod.name, newest.name
            ),
            until: Some(until),
        })
    }

    fn drain(&self, pod: &Pod) -> Option<Plan> {
        // All go: all are told at once, and nobody is sent from one to the next.
        let all_go = (self.wanted == 0)
            .then(|| {
                self.present()
                    .filter(|pod| pod.leaves_by.is_none())
                    .find(|pod| matches!(pod.server, Server::Serving(_)))
            })
            .flatten();
        let pod = all_go.unwrap_or(pod);
        plan(Step::Drain(pod.name.clone()), Reason::PodDraining, || {
            format!("pod {} is told to let its clients go", pod.name)
        })
    }

    /// The one write by which a pod that nobody is connected to goes.
    fn remove(&self, index: usize, way: Way) -> Option<Plan> {
        let Shape {
            replicas,
            start,
            partition,
        } = self.seen.shape;
        let name = self.slots[index]
            .map_or_else(|| "that is not there".to_owned(), |pod| pod.name.clone());
        let (shape, reason) = match way {
            // `replace` does the rest if the controller does not.
            Way::Replace if count(partition) <= index => return None,
            Way::Replace => (
                Shape {
                    partition: number(index),
                    ..self.seen.shape
                },
                Reason::PodReplaced,
            ),
            Way::Low => (
                Shape {
                    replicas: replicas - 1,
                    start: start + 1,
                    partition: (partition - 1).max(0),
                },
                Reason::PodRemoved,
            ),
            Way::High => (
                Shape {
                    replicas: replicas - 1,
                    start,
                    partition: partition.min(replicas - 1),
                },
                Reason::PodRemoved,
            ),
        };
        plan(Step::Write(shape), reason, || {
            let does = if way == Way::Replace {
                "is replaced"
            } else {
                "leaves"
            };
            format!("pod {name} has no clients and {does}")
        })
    }
}
