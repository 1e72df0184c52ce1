//! The planner's steps, done.
//!
//! Labels and drains are steps that change nothing the planner could be wrong about: they are done one after the other in
//! one look. After any other write the look is over: the next one sees what became of it.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;

use super::seen::{self, Known};
use super::{Plan, Reason, Seen, Server, Step, Wanted, next};
use crate::controller::apply::{Error, Writer};
use crate::controller::build::stateful_set;
use crate::controller::chain;
use crate::controller::observe::address;
use crate::controller::servers::{Drain, Servers};

/// More steps than one look can need: each pod's label twice, and its drain.
const MOST_STEPS: usize = 1000;

/// What pods are, and who speaks to them.
pub(crate) struct Ground<'a> {
    pub(crate) pods: &'a [core::Pod],
    pub(crate) known: Known,
    pub(crate) servers: &'a dyn Servers,
    pub(crate) now: Timestamp,
    /// Between two pods of a rollout.
    pub(crate) pause_seconds: i64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) stateful_set: StatefulSet,
    /// The last step, which says what is waited for.
    pub(crate) plan: Plan,
    /// Steps that were done.
    pub(crate) done: Vec<Plan>,
    /// What servers say, those that were told something now included.
    pub(crate) drains: BTreeMap<String, Drain>,
}

/// Brings the StatefulSet, and its pods, nearer to what they shall be.
pub(crate) async fn carry_out(
    writer: &mut Writer<'_>,
    desired: StatefulSet,
    live: Option<StatefulSet>,
    ground: Ground<'_>,
) -> Result<Outcome, Error> {
    let wanted = Wanted {
        replicas: seen::shape(&desired).replicas,
        pause_seconds: ground.pause_seconds,
    };
    let Some(live) = live else {
        let stateful_set = writer.ensure_shaped(desired, None).await?;
        let seen = seen::read(&stateful_set, true, ground.pods, &ground.known, ground.now);
        return Ok(Outcome {
            stateful_set,
            plan: next(&seen, wanted),
            done: Vec::new(),
            drains: ground.known.drains,
        });
    };
    writer.own(&live)?;
    let is_wanted = writer.is_template_wanted(&desired, &live)?;
    let mut course = Course {
        seen: seen::read(&live, is_wanted, ground.pods, &ground.known, ground.now),
        done: Vec::new(),
        ground,
        writer,
    };
    let plan = course.run(wanted).await?;
    let Course {
        seen,
        done,
        ground,
        writer,
    } = course;
    let shape = match plan.step {
        Step::Write(shape) => Some(shape),
        // Without the shape that goes with it another template would restart pods.
        _ => is_wanted.then_some(seen.shape),
    };
    let stateful_set = match shape {
        Some(shape) => {
            let mut desired = desired;
            stateful_set::shape(&mut desired, shape);
            writer.ensure_shaped(desired, Some(live)).await?
        }
        None => live,
    };
    Ok(Outcome {
        stateful_set,
        plan,
        done,
        drains: ground.known.drains,
    })
}

struct Course<'a, 'w> {
    seen: Seen,
    done: Vec<Plan>,
    ground: Ground<'a>,
    writer: &'a mut Writer<'w>,
}

impl<'a> Course<'a, '_> {
    /// Steps until one that has to be seen, or waited for; this is returned.
    async fn run(&mut self, wanted: Wanted) -> Result<Plan, Error> {
        for _ in 0..MOST_STEPS {
            let plan = next(&self.seen, wanted);
            let goes_on = match &plan.step {
                Step::Wait | Step::Done => return Ok(plan),
                Step::Write(_) => false,
                Step::SetAccepting(name, accepting) => {
                    let is_there = self
                        .writer
                        .set_accepting(self.pod(name), *accepting)
                        .await?;
                    let accepting = *accepting;
                    self.note(name, |pod| pod.is_accepting = accepting);
                    is_there
                }
                Step::Drain(name) => {
                    if let Err(refused) = self.drain(name).await {
                        return Ok(refused);
                    }
                    true
                }
                Step::Restart(name) => {
                    self.writer.delete_pod(self.pod(name), None).await?;
                    false
                }
                Step::ForceDelete(name) => {
                    self.writer.delete_pod(self.pod(name), Some(0)).await?;
                    false
                }
            };
            self.done.push(plan.clone());
            if !goes_on {
                return Ok(plan);
            }
        }
        Ok(next(&self.seen, wanted))
    }

    /// Tells a server to let its clients go; or why it is not known to do so.
    async fn drain(&mut self, name: &str) -> Result<(), Plan> {
        let refused = |why: String| Plan {
            step: Step::Wait,
            reason: Reason::PodUnreachable,
            message: format!("pod {name} cannot be told to let its clients go: {why}"),
            until: None,
        };
        let address = self.pod(name).and_then(address);
        let address = address.ok_or_else(|| refused("it has no address".to_owned()))?;
        let drain = self.ground.servers.drain(address).await;
        let drain = drain.map_err(|error| refused(chain(&error)))?;
        let server = if drain.done {
            Server::Drained
        } else {
            Server::Draining(drain.sessions)
        };
        self.note(name, |pod| pod.server = server);
        self.ground.known.drains.insert(name.to_owned(), drain);
        Ok(())
    }

    fn pod(&self, name: &str) -> Option<&'a core::Pod> {
        let is_it = |pod: &&core::Pod| pod.metadata.name.as_deref() == Some(name);
        self.ground.pods.iter().find(is_it)
    }

    fn note(&mut self, name: &str, change: impl FnOnce(&mut super::Pod)) {
        let mut pods = self.seen.pods.iter_mut();
        if let Some(pod) = pods.find(|pod| pod.name == name) {
            change(pod);
        }
    }
}
