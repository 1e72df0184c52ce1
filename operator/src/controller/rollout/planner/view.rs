//! What the planner asks of what is seen.

use super::super::{Plan, Pod, Reason, Seen, Server, Step, Wanted};

/// What is seen, and how many pods are wanted.
pub(super) struct View<'a> {
    pub(super) seen: &'a Seen,
    pub(super) wanted: i32,
    pub(super) pause_seconds: i64,
    /// Those that shall be there by their numbers, by index; `None` is one that is not there yet.
    pub(super) slots: Vec<Option<&'a Pod>>,
}

impl<'a> View<'a> {
    pub(super) fn new(seen: &'a Seen, wanted: Wanted) -> Self {
        let shape = seen.shape;
        let slot = |index| {
            let ordinal = shape.start + index;
            seen.pods.iter().find(|pod| pod.ordinal == ordinal)
        };
        Self {
            seen,
            wanted: wanted.replicas,
            pause_seconds: wanted.pause_seconds,
            slots: (0..shape.replicas).map(slot).collect(),
        }
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &'a Pod> {
        self.slots.iter().flatten().copied()
    }

    /// Indexes of pods that are, or would come back, of another revision than the newest.
    pub(super) fn old(&self) -> impl DoubleEndedIterator<Item = usize> {
        let is_old = |(index, slot): &(usize, &Option<&Pod>)| match slot {
            Some(pod) => pod.revision != self.seen.update_revision,
            None => {
                *index < count(self.seen.shape.partition)
                    && self.seen.current_revision != self.seen.update_revision
            }
        };
        let slots = self.slots.iter().enumerate();
        slots.filter(is_old).map(|(index, _)| index)
    }

    pub(super) fn new_pods(&self) -> impl Iterator<Item = &'a Pod> {
        let is_new = |pod: &&Pod| pod.revision == self.seen.update_revision;
        self.present().filter(is_new)
    }

    /// Pods that are there when all is done.
    pub(super) fn staying(&self) -> impl Iterator<Item = &'a Pod> {
        let end = self.seen.shape.start + number(self.kept());
        self.new_pods()
            .filter(move |pod| pod.ordinal < end && pod.leaves_by.is_none())
    }

    /// The index from which on pods leave: those too many leave at the low end as far as they are old there, else at the top.
    pub(super) fn kept(&self) -> usize {
        let old_at_low_end = self
            .old()
            .enumerate()
            .take_while(|(place, index)| place == index)
            .count();
        let leave_at_top = (self.surplus() - number(old_at_low_end)).max(0);
        self.slots.len() - count(leave_at_top)
    }

    pub(super) fn surplus(&self) -> i32 {
        self.seen.shape.replicas - self.wanted
    }

    pub(super) fn is_ending(&self, pod: &Pod) -> bool {
        let index = pod.ordinal - self.seen.shape.start;
        pod.leaves_by.is_some() || !(0..self.seen.shape.replicas).contains(&index)
    }
}

pub(super) fn is_going(pod: &Pod) -> bool {
    matches!(pod.server, Server::Draining(_) | Server::Drained)
}

/// Nobody is connected to it, and nobody can be.
pub(super) fn is_vacant(pod: &Pod) -> bool {
    matches!(pod.server, Server::Absent | Server::Drained)
}

/// It serves nobody, and nothing says that it will.
pub(super) fn is_useless(pod: &Pod) -> bool {
    is_vacant(pod) || pod.is_stuck
}

pub(super) fn plan(step: Step, reason: Reason, message: impl FnOnce() -> String) -> Option<Plan> {
    Some(Plan {
        step,
        reason,
        message: message(),
        until: None,
    })
}

/// Pods are few.
pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}
