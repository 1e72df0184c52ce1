//! What Kubernetes does with a StatefulSet of parallel pods, as far as the planner depends on it: its controller in the
//! forms that different releases have, kubelets, nodes. Time is a count of seconds.

use std::collections::BTreeMap;

use super::super::{Node, Seen, Server, Shape};
use super::random::Random;

/// Seconds that a pod may take to end.
const GRACE: i64 = 40;
/// Seconds after which a pod that is not ready is not waited for.
const STUCK: i64 = 60;

/// How the StatefulSet controller judges pods that are not available, which has changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    /// From the top down; it waits at one that is of the newest revision and not available.
    Walks,
    /// As many as are not available are not replaced, wherever they are.
    Counts,
    /// As [`Release::Counts`], but old ones that are not available are all replaced at once.
    CountsAndSweeps,
}

/// What becomes of a server of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image {
    Good,
    /// It cannot be pulled, or ends at once.
    NeverRuns,
    /// It runs and does not get ready.
    NeverReady,
}

#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) uid: u64,
    pub(super) ordinal: i32,
    pub(super) template: usize,
    pub(super) is_accepting: bool,
    pub(super) phase: Phase,
    pub(super) leaves_by: Option<i64>,
    /// When the drain is done.
    pub(super) drained_at: Option<i64>,
    pub(super) is_node_lost: bool,
    /// Somebody was connected to it.
    pub(super) had_clients: bool,
    /// When it got ready.
    pub(super) ready_since: i64,
    /// When it was last seen ready, or made.
    pub(super) unready_since: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing runs until then.
    Starting(i64),
    /// It runs and is not ready until then.
    Running(i64),
    Ready,
}

pub(super) struct Kubernetes {
    pub(super) now: i64,
    pub(super) release: Release,
    pub(super) images: Vec<Image>,
    pub(super) shape: Shape,
    pub(super) template: usize,
    pub(super) generation: u64,
    pub(super) observed: u64,
    pub(super) current: usize,
    pub(super) update: usize,
    pub(super) pods: BTreeMap<i32, Pod>,
    /// Whether the operator may see nodes.
    pub(super) shows_nodes: bool,
    /// The most seconds that a pod takes to get ready.
    pub(super) slowness: usize,
    uids: u64,
}

/// The controller ended a pod that had not let its clients go.
#[derive(Debug)]
pub(super) struct Undrained(pub(super) i32);

impl Pod {
    pub(super) fn is_drained(&self, now: i64) -> bool {
        self.drained_at.is_some_and(|at| at <= now)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
            && !self.is_node_lost
            && self.drained_at.is_none()
            && self.leaves_by.is_none()
    }

    /// Clients are let in.
    pub(super) fn lets_in(&self) -> bool {
        self.is_ready() && self.is_accepting
    }

    fn runs(&self) -> bool {
        !matches!(self.phase, Phase::Starting(_))
    }
}

impl Kubernetes {
    pub(super) fn new(chance: &mut Random, replicas: i32) -> Self {
        let release = *chance.pick(&[Release::Walks, Release::Counts, Release::CountsAndSweeps]);
        Self {
            now: 1_000_000,
            release,
            images: vec![Image::Good],
            shape: Shape::at_rest(replicas),
            template: 0,
            generation: 1,
            observed: 0,
            current: 0,
            update: 0,
            pods: BTreeMap::new(),
            shows_nodes: !chance.one_in(3),
            slowness: 4 + chance.below(20),
            uids: 0,
        }
    }

    /// What the operator reads.
    pub(super) fn seen(&self, wanted: usize, sessions: impl Fn(u64) -> usize) -> Seen {
        let name = |template: usize| format!("chat-{template}");
        let pod = |pod: &Pod| super::super::Pod {
            name: pod.uid.to_string(),
            ordinal: pod.ordinal,
            revision: name(pod.template),
            is_ready: pod.is_ready(),
            is_available: pod.is_ready(),
            ready_since: pod.is_ready().then_some(pod.ready_since),
            is_stuck: !pod.is_ready() && self.now > pod.unready_since + STUCK,
            is_accepting: pod.is_accepting,
            leaves_by: pod.leaves_by,
            node: match (self.shows_nodes, pod.is_node_lost) {
                (false, _) => Node::Unknown,
                (true, true) => Node::Lost,
                (true, false) => Node::Reachable,
            },
            server: match pod.drained_at {
                _ if !pod.runs() => Server::Absent,
                _ if pod.is_node_lost => Server::Silent,
                None => Server::Serving(sessions(pod.uid)),
                Some(at) if at <= self.now => Server::Drained,
                Some(_) => Server::Draining(sessions(pod.uid)),
            },
        };
        Seen {
            now: self.now,
            shape: self.shape,
            is_template_wanted: self.template == wanted,
            is_observed: self.observed == self.generation,
            current_revision: name(self.current),
            update_revision: name(self.update),
            pods: self.pods.values().map(pod).collect(),
        }
    }

    pub(super) fn write(&mut self, template: usize, shape: Shape) {
        self.generation += 1;
        self.template = template;
        self.shape = shape;
    }

    /// One look of the StatefulSet controller.
    pub(super) fn control(&mut self, chance: &mut Random) -> Result<(), Undrained> {
        self.observed = self.generation;
        self.update = self.template;
        let Shape {
            replicas, start, ..
        } = self.shape;
        let condemned: Vec<i32> = self
            .pods
            .values()
            .filter(|pod| !(start..start + replicas).contains(&pod.ordinal))
            .map(|pod| pod.ordinal)
            .collect();
        // Parallel: all at once.
        for ordinal in condemned {
            self.delete(ordinal)?;
        }
        for index in 0..replicas {
            if !self.pods.contains_key(&(start + index)) {
                self.create(index, chance);
            }
        }
        self.update()?;
        let (mut updated, mut ready) = (0, 0);
        for pod in self.pods.values() {
            updated += i32::from(pod.template == self.update && pod.leaves_by.is_none());
            ready += i32::from(pod.is_ready());
        }
        let all = i32::try_from(self.pods.len()).unwrap();
        if updated == replicas && ready == replicas && all == replicas {
            self.current = self.update;
        }
        Ok(())
    }

    fn create(&mut self, index: i32, chance: &mut Random) {
        self.uids += 1;
        // Below the partition it comes back as what is current.
        let template = if index < self.shape.partition {
            self.current
        } else {
            self.update
        };
        let ordinal = self.shape.start + index;
        let pod = Pod {
            uid: self.uids,
            ordinal,
            template,
            is_accepting: true,
            phase: Phase::Starting(self.soon(chance)),
            leaves_by: None,
            drained_at: None,
            is_node_lost: false,
            had_clients: false,
            ready_since: self.now,
            unready_since: self.now,
        };
        self.pods.insert(ordinal, pod);
    }

    fn soon(&self, chance: &mut Random) -> i64 {
        self.now + 2 + i64::try_from(chance.below(self.slowness)).unwrap()
    }

    fn update(&mut self) -> Result<(), Undrained> {
        let slots: Vec<Pod> = self
            .pods
            .range(self.shape.start..self.shape.start + self.shape.replicas)
            .map(|(_, pod)| pod.clone())
            .collect();
        let least = self.shape.start + self.shape.partition;
        let is_old = |pod: &&Pod| pod.template != self.update && pod.leaves_by.is_none();
        let exposed = || slots.iter().rev().filter(move |pod| pod.ordinal >= least);
        let unavailable = slots.iter().filter(|pod| !pod.is_ready()).count();
        let ended: Vec<i32> = match self.release {
            Release::Walks => {
                let first = exposed().find(|pod| is_old(pod) || !pod.is_ready());
                first
                    .filter(is_old)
                    .map(|pod| pod.ordinal)
                    .into_iter()
                    .collect()
            }
            Release::CountsAndSweeps if exposed().any(|pod| is_old(&pod) && !pod.is_ready()) => {
                let swept = exposed().filter(is_old).filter(|pod| !pod.is_ready());
                swept.map(|pod| pod.ordinal).collect()
            }
            Release::Counts | Release::CountsAndSweeps if unavailable > 0 => Vec::new(),
            Release::Counts | Release::CountsAndSweeps => {
                let first = exposed().find(is_old);
                first.map(|pod| pod.ordinal).into_iter().collect()
            }
        };
        ended
            .into_iter()
            .try_for_each(|ordinal| self.delete(ordinal))
    }

    /// A pod is told to end by the controller: for what the operator has written.
    fn delete(&mut self, ordinal: i32) -> Result<(), Undrained> {
        let now = self.now;
        let pod = self.pods.get_mut(&ordinal).unwrap();
        if pod.leaves_by.is_some() {
            return Ok(());
        }
        // One that got ready with its label off has nobody, and lets nobody in.
        let could_have_clients =
            !pod.is_drained(now) && pod.runs() && (pod.is_accepting || pod.had_clients);
        pod.leaves_by = Some(now + GRACE);
        if could_have_clients {
            return Err(Undrained(ordinal));
        }
        Ok(())
    }

    /// Somebody deletes a pod, or its node evicts it: it drains by itself.
    pub(super) fn evict(&mut self, ordinal: i32) {
        let now = self.now;
        let pod = self.pods.get_mut(&ordinal).unwrap();
        if pod.leaves_by.is_none() {
            pod.leaves_by = Some(now + GRACE);
            pod.drained_at = pod.drained_at.or(Some(now + 5));
        }
    }

    /// Kubelets: pods start, get ready, drain, end.
    pub(super) fn run(&mut self, chance: &mut Random) {
        let (now, later) = (self.now, self.soon(chance));
        for pod in self.pods.values_mut().filter(|pod| pod.is_ready()) {
            pod.unready_since = now;
        }
        for pod in self.pods.values_mut().filter(|pod| !pod.is_node_lost) {
            let image = self.images[pod.template];
            match pod.phase {
                Phase::Starting(at) if at <= now && image != Image::NeverRuns => {
                    pod.phase = Phase::Running(later);
                }
                Phase::Running(at) if at <= now && image == Image::Good => {
                    (pod.phase, pod.ready_since) = (Phase::Ready, now);
                }
                _ => {}
            }
        }
        self.pods.retain(|_, pod| {
            let is_done = !pod.runs() || pod.is_drained(now) || pod.phase != Phase::Ready;
            let ends = pod
                .leaves_by
                .is_some_and(|by| now > by || (is_done && now > by - GRACE));
            pod.is_node_lost || !ends
        });
        // Whoever tolerates a lost node for so long is told to end, and nobody is there to do it.
        for pod in self.pods.values_mut().filter(|pod| pod.is_node_lost) {
            pod.leaves_by = pod.leaves_by.or(Some(now + 30 + GRACE));
        }
    }
}
