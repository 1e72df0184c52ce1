//! What is asked for in the middle of a run, and what goes wrong.

use super::course::Course;
use super::kubernetes::{Image, Phase};

impl Course {
    /// A template that was not there before, which becomes what is asked for.
    pub(super) fn change(&mut self, image: Image) {
        self.kubernetes.images.push(image);
        self.template = self.kubernetes.images.len() - 1;
        self.trace
            .push(format!("template {}: {image:?}", self.template));
    }

    /// One thing goes wrong, or is asked for.
    pub(super) fn disturb(&mut self) {
        let kind = self.chance.below(12);
        let later = self.kubernetes.now + 5 + i64::try_from(self.chance.below(60)).unwrap();
        self.trace
            .push(format!("{}: disturbance {kind}", self.kubernetes.now));
        match kind {
            0 | 1 => {
                let images = [
                    Image::Good,
                    Image::Good,
                    Image::NeverRuns,
                    Image::NeverReady,
                ];
                let image = *self.chance.pick(&images);
                self.change(image);
            }
            2 => self.template = self.chance.below(self.kubernetes.images.len()),
            3 | 4 => self.replicas = i32::try_from(self.chance.below(7)).unwrap(),
            5 => self.operator_back = later,
            6 => self.controller_back = later,
            7 => self.each_lost_node_returns(),
            _ => self.disturb_pod(kind, later),
        }
    }

    fn disturb_pod(&mut self, kind: usize, later: i64) {
        let ordinals: Vec<i32> = self.kubernetes.pods.keys().copied().collect();
        if ordinals.is_empty() {
            return;
        }
        let ordinal = *self.chance.pick(&ordinals);
        if kind == 8 {
            self.kubernetes.evict(ordinal);
            return;
        }
        let pod = self.kubernetes.pods.get_mut(&ordinal).unwrap();
        match kind {
            9 => pod.is_node_lost = true,
            // Its container ends and is started again: a drain is forgotten.
            10 => {
                (pod.phase, pod.drained_at) = (Phase::Starting(later), None);
                pod.had_clients = false;
            }
            // It keeps its clients, and is not ready for a while.
            _ if pod.phase == Phase::Ready => pod.phase = Phase::Running(later),
            _ => {}
        }
    }

    pub(super) fn each_lost_node_returns(&mut self) {
        for pod in self.kubernetes.pods.values_mut() {
            pod.is_node_lost = false;
        }
    }
}
