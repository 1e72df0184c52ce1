//! Which step comes next. The questions are asked in this order, and the first that has an answer decides.

mod going;
mod view;

use super::{Node, Plan, Pod, Reason, Seen, Server, Shape, Step, Wanted};
use view::{View, count, is_going, is_useless, is_vacant, number, plan};

/// What a pod gets beyond its time before it is forgotten, where nobody knows whether its node is there.
const PATIENCE_SECONDS: i64 = 60;

/// The next step towards the pods that are wanted, of the template that is asked for.
pub(crate) fn next(seen: &Seen, wanted: Wanted) -> Plan {
    let view = View::new(seen, wanted);
    let questions = [
        View::forget,
        View::protect,
        View::await_controller,
        View::cover,
        View::steer,
        View::replace,
        View::grow,
        View::take,
        View::complete,
    ];
    let answer = questions.iter().find_map(|question| question(&view));
    answer.unwrap_or_else(|| view.rest())
}

impl View<'_> {
    /// A pod that has not ended although its time is over keeps its number from coming back, for ever.
    fn forget(&self) -> Option<Plan> {
        let overdue = self.seen.pods.iter().find(|pod| {
            let patience = match pod.node {
                Node::Reachable => return false,
                Node::Lost => 0,
                Node::Unknown => PATIENCE_SECONDS,
            };
            pod.leaves_by
                .is_some_and(|by| self.seen.now > by + patience)
        })?;
        let step = Step::ForceDelete(overdue.name.clone());
        plan(step, Reason::NodeLost, || {
            format!(
                "pod {} has not ended in its time, and its node is not heard of",
                overdue.name
            )
        })
    }

    /// Another template, and a partition that covers all pods, so that none restarts undrained.
    fn protect(&self) -> Option<Plan> {
        if self.seen.is_template_wanted {
            return None;
        }
        let shape = Shape {
            partition: self.seen.shape.replicas,
            ..self.seen.shape
        };
        plan(Step::Write(shape), Reason::TemplateChanged, || {
            "pods shall run another template".to_owned()
        })
    }

    fn await_controller(&self) -> Option<Plan> {
        if self.seen.is_observed {
            return None;
        }
        plan(Step::Wait, Reason::ControllerBehind, || {
            "the StatefulSet controller has not seen the last change".to_owned()
        })
    }

    /// A pod above the partition that serves after all: it did not run, or was drained, and its container was started again.
    fn cover(&self) -> Option<Plan> {
        let partition = self.seen.shape.partition;
        let exposed = self.old().filter(|index| *index >= count(partition));
        let (index, pod) = exposed
            .filter_map(|index| Some((index, self.slots[index]?)))
            .rfind(|(_, pod)| !is_vacant(pod) && pod.leaves_by.is_none())?;
        let shape = Shape {
            partition: number(index) + 1,
            ..self.seen.shape
        };
        plan(Step::Write(shape), Reason::PodServes, || {
            format!(
                "pod {} may have clients again and is not replaced yet",
                pod.name
            )
        })
    }

    /// Labels: new sessions go to pods that stay. While none of those is ready, to all.
    fn steer(&self) -> Option<Plan> {
        let has_ready = self.staying().any(|pod| pod.is_ready && !is_going(pod));
        let accepts = |pod: &Pod| {
            let stays = || self.staying().any(|other| other.ordinal == pod.ordinal);
            // One that does not run may be taken as it is: it shall not serve by the time that the controller sees to it.
            let stands_in = || !has_ready && pod.server != Server::Absent;
            self.wanted > 0 && !is_going(pod) && (stays() || stands_in())
        };
        let wrong = |accepting: bool| {
            let mut pods = self.present().filter(|pod| pod.leaves_by.is_none());
            pods.find(|pod| pod.is_accepting != accepting && accepts(pod) == accepting)
        };
        // Once one that is right is there, those that are wrong go first: each client that is sent to them moves again.
        let somebody = self
            .present()
            .any(|pod| pod.is_ready && pod.is_accepting && accepts(pod));
        let (first, second) = (wrong(!somebody), wrong(somebody));
        let (pod, accepting) = first
            .map(|pod| (pod, !somebody))
            .or_else(|| second.map(|pod| (pod, somebody)))?;
        let reason = match (accepting, has_ready) {
            (false, true) => Reason::NewPodReady,
            (true, false) => Reason::NoNewPodReady,
            _ => Reason::Steering,
        };
        let step = Step::SetAccepting(pod.name.clone(), accepting);
        plan(step, reason, || {
            let does = if accepting {
                "takes"
            } else {
                "no longer takes"
            };
            format!("pod {} {does} new clients", pod.name)
        })
    }

    /// A server that was drained never serves again. Who shall stay comes back by being deleted; who is above the
    /// partition, too: some releases of the StatefulSet controller wait for a pod that is not ready instead of replacing it.
    fn replace(&self) -> Option<Plan> {
        if self.wanted == 0 {
            return None;
        }
        let staying = self
            .staying()
            .filter(|pod| pod.server == Server::Drained)
            .map(|pod| pod.name.clone());
        let exposed = self.old().filter_map(|index| {
            let pod = self.slots[index]?;
            let is_exposed = index >= count(self.seen.shape.partition);
            (is_exposed && is_vacant(pod) && pod.leaves_by.is_none()).then(|| pod.name.clone())
        });
        let name = staying.chain(exposed).next()?;
        plan(Step::Restart(name.clone()), Reason::PodReplaced, || {
            format!("pod {name} has no clients and is replaced")
        })
    }

    /// More pods: those that are asked for, and one more while old ones are replaced, so that there are never fewer.
    fn grow(&self) -> Option<Plan> {
        let Shape {
            replicas,
            start,
            partition,
        } = self.seen.shape;
        let is_surge = self.needs_surge();
        let least = if is_surge {
            self.with_surge()
        } else {
            self.wanted
        };
        if least <= replicas {
            return None;
        }
        let is_uniform = self.seen.current_revision == self.seen.update_revision;
        let is_at_rest = is_uniform && self.old().next().is_none();
        let shape = Shape {
            replicas: least,
            start,
            // What is added is above the partition, so new; where there is but one revision it does not matter.
            partition: if is_at_rest {
                least
            } else {
                partition.min(replicas)
            },
        };
        let reason = if is_surge {
            Reason::Surge
        } else {
            Reason::ScalingUp
        };
        plan(Step::Write(shape), reason, || {
            format!("{least} pods instead of {replicas}")
        })
    }

    /// Old pods are replaced, and the highest of them serves somebody.
    fn needs_surge(&self) -> bool {
        let highest = self.old().next_back();
        let serves = highest
            .and_then(|index| self.slots[index])
            .is_some_and(|pod| !is_vacant(pod) && pod.leaves_by.is_none());
        self.wanted > 0 && serves
    }

    fn with_surge(&self) -> i32 {
        // Also one that is not there yet, and will be new.
        let has_new = self.old().count() < self.slots.len();
        // Old ones that are of no use count for nothing, and the new template may be what mends them. The highest of those
        // can go at once; behind a better one they have to be made up for.
        let useless: Vec<bool> = self
            .old()
            .filter_map(|index| self.slots[index])
            .map(is_useless)
            .collect();
        let least = match useless.last() {
            Some(true) => self.wanted,
            _ => self.wanted + 1 + number(useless.iter().filter(|is_useless| **is_useless).count()),
        };
        if has_new {
            least
        } else {
            least.max(self.seen.shape.replicas + 1)
        }
    }

    /// The partition covers all pods again, once there is but one revision.
    fn complete(&self) -> Option<Plan> {
        let shape = self.seen.shape;
        let is_due = shape.replicas == self.wanted
            && shape.partition != shape.replicas
            && self.old().next().is_none()
            && self.seen.current_revision == self.seen.update_revision;
        if !is_due {
            return None;
        }
        let shape = Shape {
            partition: shape.replicas,
            ..shape
        };
        plan(Step::Write(shape), Reason::Completing, || {
            "all pods are of one revision".to_owned()
        })
    }

    /// Nothing is left to do; whether something is left to wait for.
    fn rest(&self) -> Plan {
        let waits = |reason, message| Plan {
            step: Step::Wait,
            reason,
            message,
            until: None,
        };
        if let Some(ending) = self.ending().flatten() {
            return ending;
        }
        if let Some(index) = self.slots.iter().position(Option::is_none) {
            let ordinal = self.seen.shape.start + number(index);
            return waits(
                Reason::PodStarting,
                format!("the pod with the number {ordinal} is not there yet"),
            );
        }
        if let Some(pod) = self.present().find(|pod| !pod.is_available) {
            let message = match pod.server {
                Server::Draining(left) => {
                    format!("pod {} lets its clients go; left: {left}", pod.name)
                }
                _ => format!("pod {} is not ready", pod.name),
            };
            return waits(Reason::PodNotReady, message);
        }
        if self.seen.current_revision != self.seen.update_revision {
            let message = "the StatefulSet controller has not closed the rollout yet";
            return waits(Reason::ControllerBehind, message.to_owned());
        }
        Plan {
            step: Step::Done,
            reason: Reason::Settled,
            message: "no pod is being started, replaced or ended".to_owned(),
            until: None,
        }
    }
}
