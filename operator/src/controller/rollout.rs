//! Rollouts and scale-downs, planned by the operator so that a client reconnects once (semantics 24 to 30).
//!
//! [`next`] is the planner: a pure function from what is seen to the next step and its reason. It remembers nothing: an
//! operator that was started again in the middle goes on where the last one was. `seen` reads Kubernetes' objects into
//! [`Seen`], `carry_out` does the steps, `planner` decides. `simulation` runs the planner against a StatefulSet controller
//! and clients, over thousands of random courses.
//!
//! The straight course of R pods, from an old revision to a new one:
//! 1. The template is written with a partition that covers every pod: nothing restarts.
//! 2. One pod more, above the partition: the first of the new revision.
//! 3. It is ready: the old ones turn non-accepting. Whoever is let go from now on lands on a new pod, and stays.
//! 4. If a pause is asked for: the newest pod has been ready for so long, as its own condition says. It is so before each drain.
//! 5. The highest old pod is drained, the partition is lowered to it, it comes back new; so down to the second.
//! 6. The lowest is drained and leaves: `ordinals.start` is raised, `replicas` and the partition are lowered, in one write.
//! 7. The partition goes back up to `replicas`: whatever is changed by hand now restarts nothing.

mod carry_out;
mod planner;
mod seen;
#[cfg(test)]
mod simulation;

use std::fmt;

pub(crate) use carry_out::{Ground, Outcome, carry_out};
pub(crate) use planner::next;
pub(crate) use seen::{Known, doubtful_nodes, node_of, servers_of};

/// The numbers of a StatefulSet that decide which pods there are, and which of them are of the newest revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Pods.
    pub(crate) replicas: i32,
    /// The number of the lowest pod.
    pub(crate) start: i32,
    /// Pods at this index, counted from the lowest, and above are replaced as soon as their revision differs.
    pub(crate) partition: i32,
}

impl Shape {
    /// That of a StatefulSet with so many pods that is at rest.
    pub(crate) const fn at_rest(replicas: i32) -> Self {
        Self {
            replicas,
            start: 0,
            partition: replicas,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Pods.
    pub(crate) replicas: i32,
    /// How long the newest pod has to have been ready before the next old one goes.
    pub(crate) pause_seconds: i64,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) shape: Shape,
    /// The pods' template is the one that is asked for.
    pub(crate) is_template_wanted: bool,
    /// The StatefulSet controller has seen the last change; else the revisions say nothing.
    pub(crate) is_observed: bool,
    /// What a pod below the partition comes back with.
    pub(crate) current_revision: String,
    /// What pods shall have.
    pub(crate) update_revision: String,
    /// In the order of their numbers.
    pub(crate) pods: Vec<Pod>,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ordinal: i32,
    pub(crate) revision: String,
    pub(crate) is_ready: bool,
    /// It has been ready for `minReadySeconds`.
    pub(crate) is_available: bool,
    /// It has not been ready for so long that it is not waited for.
    pub(crate) is_stuck: bool,
    /// The second since which it is ready.
    pub(crate) ready_since: Option<i64>,
    /// Its label lets the client Service send it new clients.
    pub(crate) is_accepting: bool,
    /// It was told to end, and shall have ended by this second.
    pub(crate) leaves_by: Option<i64>,
    pub(crate) node: Node,
    pub(crate) server: Server,
}

/// Where a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Its kubelet is heard of.
    Reachable,
    /// Its kubelet is not, or it is gone.
    Lost,
    /// The operator may not look.
    Unknown,
}

/// What a pod's server says of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// No container runs: nobody is connected.
    Absent,
    /// One runs, and says nothing.
    Silent,
    /// It serves so many.
    Serving(usize),
    /// It lets them go; so many are left.
    Draining(usize),
    /// It has let all go.
    Drained,
}

/// What to do next. One step is one write, and waits for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write template, replicas, start and partition, in one apply.
    Write(Shape),
    /// Set a pod's label.
    SetAccepting(String, bool),
    /// Tell a pod's server to let its clients go.
    Drain(String),
    /// Delete a pod that nobody is connected to, so that it comes back.
    Restart(String),
    /// Forget a pod that has not ended although it had to, on a node that is not heard of.
    ForceDelete(String),
    /// Nothing, until something is seen to change.
    Wait,
    /// Nothing: all is as it shall be.
    Done,
}

/// A step and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) step: Step,
    pub(crate) reason: Reason,
    /// For people.
    pub(crate) message: String,
    /// The second until which nothing is done, if it is time that is waited for.
    pub(crate) until: Option<i64>,
}

/// Why, in one word for conditions and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NodeLost,
    TemplateChanged,
    ControllerBehind,
    PodServes,
    PodUnreachable,
    NewPodReady,
    NoNewPodReady,
    Steering,
    PodReplaced,
    Surge,
    ScalingUp,
    Pausing,
    PodDraining,
    PodRemoved,
    PodEnding,
    PodStarting,
    PodNotReady,
    Completing,
    Settled,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NodeLost => "NodeLost",
            Self::TemplateChanged => "TemplateChanged",
            Self::ControllerBehind => "ControllerBehind",
            Self::PodServes => "PodServes",
            Self::PodUnreachable => "PodUnreachable",
            Self::NewPodReady => "NewPodReady",
            Self::NoNewPodReady => "NoNewPodReady",
            Self::Steering => "Steering",
            Self::PodReplaced => "PodReplaced",
            Self::Surge => "SurgePodAdded",
            Self::ScalingUp => "ScalingUp",
            Self::Pausing => "Pausing",
            Self::PodDraining => "PodDraining",
            Self::PodRemoved => "PodRemoved",
            Self::PodEnding => "PodEnding",
            Self::PodStarting => "PodStarting",
            Self::PodNotReady => "PodNotReady",
            Self::Completing => "Completing",
            Self::Settled => "Settled",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
