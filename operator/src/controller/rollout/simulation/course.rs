//! One run: the operator, Kubernetes, clients, and what goes wrong; with what must hold at each step.

use super::super::{Plan, Reason, Shape, Step, Wanted, next};
use super::kubernetes::{Kubernetes, Phase, Pod, Undrained};
use super::random::Random;

/// A run that has come to rest stays there for so long.
const REST: usize = 60;
/// From the end of all disturbances until all is as it shall be: 20 pods, each with start and drain.
const CALM: usize = 6_000;

/// One client: where it is, and how often it had to come back.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) pod: Option<u64>,
    pub(super) reconnects: u32,
}

pub(super) struct Course {
    pub(super) chance: Random,
    pub(super) kubernetes: Kubernetes,
    pub(super) clients: Vec<Client>,
    /// What is asked for.
    pub(super) replicas: i32,
    pub(super) template: usize,
    /// Seconds between two pods of a rollout.
    pub(super) pause: i64,
    /// The operator, or the controller, does nothing until then.
    pub(super) operator_back: i64,
    pub(super) controller_back: i64,
    pub(super) trace: Vec<String>,
    pub(super) steps: usize,
}

/// A promise does not hold.
pub(super) type Broken = String;

impl Course {
    pub(super) fn new(seed: u64, replicas: i32, clients: usize) -> Self {
        let mut chance = Random::new(seed);
        Self {
            kubernetes: Kubernetes::new(&mut chance, replicas),
            clients: vec![Client::default(); clients],
            pause: *chance.pick(&[0, 0, 15, 60]),
            chance,
            replicas,
            template: 0,
            operator_back: 0,
            controller_back: 0,
            trace: Vec::new(),
            steps: 0,
        }
    }

    /// A second passes: everybody acts once, in an order by chance.
    pub(super) fn tick(&mut self) -> Result<Plan, Broken> {
        self.kubernetes.now += 1;
        let mut plan = None;
        let first = self.chance.below(4);
        for turn in 0..4 {
            match (first + turn) % 4 {
                0 => self.control()?,
                1 => self.kubernetes.run(&mut self.chance),
                2 => self.connect(),
                _ => plan = Some(self.operate()?),
            }
        }
        self.connect();
        Ok(plan.expect("the operator has its turn"))
    }

    fn control(&mut self) -> Result<(), Broken> {
        if self.kubernetes.now < self.controller_back {
            return Ok(());
        }
        let looked = self.kubernetes.control(&mut self.chance);
        looked.map_err(|Undrained(ordinal)| format!("pod {ordinal} was ended undrained"))
    }

    /// One look of the operator: labels until there is none to be set, then one more step. It may be ended at any of them.
    fn operate(&mut self) -> Result<Plan, Broken> {
        loop {
            let plan = self.step()?;
            if !matches!(plan.step, Step::SetAccepting(..)) || self.chance.one_in(20) {
                return Ok(plan);
            }
        }
    }

    /// Between what it sees and what it does others may act.
    fn step(&mut self) -> Result<Plan, Broken> {
        let plan = next(&self.seen(), self.wanted());
        if self.kubernetes.now < self.operator_back {
            let (step, reason) = (Step::Wait, Reason::Steering);
            let message = "there is no operator".to_owned();
            return Ok(Plan {
                step,
                reason,
                message,
                until: None,
            });
        }
        if let Step::Drain(name) = &plan.step {
            self.judge_pause(name)?;
        }
        if self.chance.one_in(3) {
            self.kubernetes.run(&mut self.chance);
        }
        if !matches!(plan.step, Step::Wait | Step::Done) {
            self.steps += 1;
        }
        self.note(&plan);
        let before = self.serving();
        self.carry_out(&plan)?;
        if matches!(plan.step, Step::Wait | Step::Done) {
            self.judge_rest(&plan)?;
        } else if before > 0 && self.serving() == 0 && self.replicas > 0 {
            return Err(format!("nobody takes clients after {:?}", plan.step));
        }
        Ok(plan)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            replicas: self.replicas,
            pause_seconds: self.pause,
        }
    }

    fn seen(&self) -> super::super::Seen {
        let sessions = |uid| {
            let on = |client: &&Client| client.pod == Some(uid);
            self.clients.iter().filter(on).count()
        };
        self.kubernetes.seen(self.template, sessions)
    }

    fn note(&mut self, plan: &Plan) {
        if matches!(plan.step, Step::Wait | Step::Done) {
            let line = format!("  {}", plan.message);
            if self.trace.last() != Some(&line) {
                self.trace.push(line);
            }
            return;
        }
        let Shape {
            replicas,
            start,
            partition,
        } = self.kubernetes.shape;
        let pods: Vec<String> = self.kubernetes.pods.values().map(short).collect();
        self.trace.push(format!(
            "{}: wanted {}x{} shape {replicas}+{start}/{partition} rev {}>{} [{}] {:?}: {}",
            self.kubernetes.now,
            self.replicas,
            self.template,
            self.kubernetes.current,
            self.kubernetes.update,
            pods.join(" "),
            plan.step,
            plan.message
        ));
    }

    /// Pods that clients are let in by.
    fn serving(&self) -> usize {
        let pods = self.kubernetes.pods.values();
        pods.filter(|pod| pod.lets_in()).count()
    }

    /// Nothing is to be done now: then who is ready is used.
    fn judge_rest(&self, plan: &Plan) -> Result<(), Broken> {
        let is_seen = self.kubernetes.observed == self.kubernetes.generation;
        let is_ready = self.kubernetes.pods.values().any(|pod| {
            let index = pod.ordinal - self.kubernetes.shape.start;
            pod.is_ready() && (0..self.kubernetes.shape.replicas).contains(&index)
        });
        // What became ready after the look was not seen by it.
        let seen_again = next(&self.seen(), self.wanted());
        if is_seen
            && is_ready
            && self.replicas > 0
            && self.serving() == 0
            && seen_again.step == plan.step
        {
            return Err(format!(
                "a pod is ready and none takes clients: {}",
                plan.message
            ));
        }
        Ok(())
    }

    fn carry_out(&mut self, plan: &Plan) -> Result<(), Broken> {
        match &plan.step {
            Step::Wait | Step::Done => Ok(()),
            Step::Write(shape) => self.write(*shape),
            Step::SetAccepting(name, accepting) => {
                if let Some(pod) = self.pod(name) {
                    pod.is_accepting = *accepting;
                }
                Ok(())
            }
            Step::Drain(name) => self.drain(name),
            Step::Restart(name) => {
                let now = self.kubernetes.now;
                let Some(pod) = self.pod(name) else {
                    return Ok(());
                };
                if pod.had_clients && pod.phase == Phase::Ready && !pod.is_drained(now) {
                    return Err(format!("pod {} was restarted undrained", pod.ordinal));
                }
                pod.leaves_by = pod.leaves_by.or(Some(now + 1));
                Ok(())
            }
            Step::ForceDelete(name) => {
                let (now, knows) = (self.kubernetes.now, self.kubernetes.shows_nodes);
                let Some(pod) = self.pod(name) else {
                    return Ok(());
                };
                let lives = knows && !pod.is_node_lost;
                let patience = if knows { 0 } else { 60 };
                if lives || pod.leaves_by.is_none_or(|by| by + patience >= now) {
                    return Err(format!("pod {} was forgotten while it lives", pod.ordinal));
                }
                let ordinal = pod.ordinal;
                self.kubernetes.pods.remove(&ordinal);
                Ok(())
            }
        }
    }

    fn write(&mut self, shape: Shape) -> Result<(), Broken> {
        let before = self.kubernetes.shape;
        let range = |shape: Shape| shape.start..shape.start + shape.replicas;
        let gone = range(before).filter(|ordinal| !range(shape).contains(ordinal));
        if gone.count() > 1 {
            return Err(format!("{before:?} to {shape:?} removes several pods"));
        }
        if self.template != self.kubernetes.template && shape.partition < before.replicas {
            return Err(format!(
                "a template with the partition of {shape:?} restarts pods"
            ));
        }
        if shape == before && self.template == self.kubernetes.template {
            return Err(format!("{shape:?} is written although it is there"));
        }
        self.kubernetes.write(self.template, shape);
        Ok(())
    }

    fn drain(&mut self, name: &str) -> Result<(), Broken> {
        let (now, length) = (self.kubernetes.now, 3 + self.chance.below(8));
        let uid: u64 = name.parse().unwrap();
        let others = |pod: &&Pod| pod.uid != uid && pod.is_ready();
        let ready = self.kubernetes.pods.values().filter(others).count();
        let floor = usize::try_from(self.replicas).unwrap();
        let Some(pod) = self.pod(name).filter(|pod| !pod.is_node_lost) else {
            return Ok(());
        };
        let was_ready = pod.is_ready();
        if pod.is_accepting && was_ready && floor > 0 {
            return Err(format!("pod {} is drained while it accepts", pod.ordinal));
        }
        pod.drained_at = pod
            .drained_at
            .or(Some(now + i64::try_from(length).unwrap()));
        // A pod that the last look still saw may have gone meanwhile: one less is chance, not a plan.
        if was_ready && ready + 1 < floor {
            return Err(format!(
                "{ready} of {floor} pods are ready when one is drained"
            ));
        }
        Ok(())
    }

    /// A pod of a rollout goes only when the one that got ready last has been so for the pause.
    fn judge_pause(&self, name: &str) -> Result<(), Broken> {
        let uid: u64 = name.parse().unwrap();
        let Kubernetes {
            now, update, pods, ..
        } = &self.kubernetes;
        let is_old = |pod: &Pod| pod.template != *update;
        let serves = |pod: &&Pod| pod.uid == uid && is_old(pod) && pod.is_ready();
        let new = pods.values().filter(|pod| !is_old(pod) && pod.is_ready());
        let newest = new.map(|pod| pod.ready_since).max();
        let is_early = newest.is_some_and(|since| *now < since + self.pause);
        if is_early && self.replicas > 0 && pods.values().any(|pod| serves(&pod)) {
            return Err(format!(
                "a pod is drained before a pause of {} s",
                self.pause
            ));
        }
        Ok(())
    }

    fn pod(&mut self, name: &str) -> Option<&mut Pod> {
        let uid: u64 = name.parse().unwrap();
        let mut pods = self.kubernetes.pods.values_mut();
        pods.find(|pod| pod.uid == uid)
    }

    /// Whoever lost its pod comes to one that takes clients.
    fn connect(&mut self) {
        let now = self.kubernetes.now;
        let pods = || self.kubernetes.pods.values();
        let open: Vec<u64> = pods()
            .filter(|pod| pod.lets_in())
            .map(|pod| pod.uid)
            .collect();
        let holds = |pod: &Pod| {
            pod.phase != Phase::Starting(0)
                && !matches!(pod.phase, Phase::Starting(_))
                && !pod.is_drained(now)
                && !pod.is_node_lost
        };
        let holding: Vec<u64> = pods().filter(|pod| holds(pod)).map(|pod| pod.uid).collect();
        for client in &mut self.clients {
            if client.pod.is_some_and(|uid| holding.contains(&uid)) {
                continue;
            }
            client.pod = None;
            if !open.is_empty() {
                client.pod = Some(*self.chance.pick(&open));
                client.reconnects += 1;
            }
        }
        for pod in self.kubernetes.pods.values_mut() {
            pod.had_clients |= self
                .clients
                .iter()
                .any(|client| client.pod == Some(pod.uid));
        }
    }

    /// Until all is as it shall be.
    pub(super) fn settle(&mut self) -> Result<(), Broken> {
        for _ in 0..CALM {
            if self.tick()?.step == Step::Done {
                return self.rest();
            }
        }
        Err("it does not come to an end".to_owned())
    }

    /// All is as it shall be, and stays so without a write.
    fn rest(&mut self) -> Result<(), Broken> {
        let before = self.steps;
        for _ in 0..REST {
            self.tick()?;
        }
        if self.steps != before {
            return Err("something is written although nothing changes".to_owned());
        }
        let shape = self.kubernetes.shape;
        let is_right = |pod: &Pod| pod.template == self.template && pod.lets_in();
        let pods = &self.kubernetes.pods;
        if shape.replicas != self.replicas
            || shape.partition != shape.replicas
            || pods.len() != usize::try_from(self.replicas).unwrap()
            || !pods.values().all(is_right)
        {
            return Err(format!("it rests at {shape:?}"));
        }
        Ok(())
    }

    /// Everybody begins anew to count.
    pub(super) fn forget(&mut self) {
        self.clients
            .iter_mut()
            .for_each(|client| client.reconnects = 0);
    }
}

fn short(pod: &Pod) -> String {
    let phase = match pod.phase {
        _ if pod.is_node_lost => "lost",
        _ if pod.leaves_by.is_some() => "leaves",
        _ if pod.drained_at.is_some() => "drains",
        Phase::Starting(_) => "starts",
        Phase::Running(_) => "runs",
        Phase::Ready => "ready",
    };
    let accepts = if pod.is_accepting { "" } else { "!" };
    format!("{}:{}{accepts}{phase}", pod.ordinal, pod.template)
}
