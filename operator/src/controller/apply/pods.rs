//! The StatefulSet in the shape that is planned for it, and its pods: their label, and that they go.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::{Error, Writer, compare, difference, failed};
use crate::controller::build::stateful_set;
use crate::controller::rollout::Shape;
use crate::metrics::Verb;
use crate::names::{ACCEPTING, MANAGER, TEMPLATE_HASH};

impl Writer<'_> {
    /// As another child, but its shape is no wish of the user: the hash of wishes leaves it out.
    pub(crate) async fn ensure_shaped(
        &mut self,
        mut desired: StatefulSet,
        live: Option<StatefulSet>,
    ) -> Result<StatefulSet, Error> {
        let mut wish = desired.clone();
        stateful_set::shape(&mut wish, Shape::at_rest(0));
        difference::stamp(&mut wish).map_err(|source| compare(&desired, source))?;
        *desired.annotations_mut() = wish.metadata.annotations.take().unwrap_or_default();
        self.ensure_stamped(desired, live).await
    }

    /// Whether pods are made of the template that is asked for, and would be after the next apply.
    pub(crate) fn is_template_wanted(
        &self,
        desired: &StatefulSet,
        live: &StatefulSet,
    ) -> Result<bool, Error> {
        let template = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.template.clone());
        let hash = |set: &StatefulSet| set.annotations().get(TEMPLATE_HASH).cloned();
        let differs = difference::first(&template(desired), &template(live))
            .map_err(|source| compare(live, source))?;
        Ok(differs.is_none() && hash(desired) == hash(live))
    }

    /// Sets a pod's label; false if it is not the pod that was looked at any more.
    pub(crate) async fn set_accepting(
        &mut self,
        pod: Option<&Pod>,
        accepting: bool,
    ) -> Result<bool, Error> {
        let Some(pod) = pod else { return Ok(false) };
        let name = pod.name_any();
        let patch = json!({ "metadata": {
            // Another pod of this name has another label.
            "uid": pod.uid(),
            "labels": { ACCEPTING: accepting.to_string() },
        } });
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..Default::default()
        };
        let patched = self
            .api(pod)
            .patch(&name, &parameters, &Patch::Merge(patch))
            .await;
        if is_gone(patched.as_ref().err()) {
            return Ok(false);
        }
        patched.map_err(|source| failed(pod, Verb::Apply, source))?;
        let field = format!("metadata.labels.{ACCEPTING}");
        self.note(pod, Verb::Apply, Some(field));
        Ok(true)
    }

    /// Deletes this very pod; with no seconds left for it to end, it is only forgotten.
    pub(crate) async fn delete_pod(
        &mut self,
        pod: Option<&Pod>,
        seconds: Option<u32>,
    ) -> Result<(), Error> {
        let Some(pod) = pod else { return Ok(()) };
        let name = pod.name_any();
        let parameters = DeleteParams {
            grace_period_seconds: seconds,
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleted = self.api(pod).delete(&name, &parameters).await;
        if is_gone(deleted.as_ref().err()) {
            return Ok(());
        }
        deleted.map_err(|source| failed(pod, Verb::Delete, source))?;
        self.note(pod, Verb::Delete, None);
        Ok(())
    }
}

/// It ended, or was replaced, since it was looked at: no failure, the next look sees it.
fn is_gone(error: Option<&kube::Error>) -> bool {
    matches!(error, Some(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict())
}
