//! What Kubernetes says of pods.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

/// Why a container waits although nothing is left to wait for.
const STUCK: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// Whether it is ready, and not on its way out.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    !is_leaving(pod) && condition(pod, "Ready").is_some_and(|(status, _, _)| status == "True")
}

/// Whether it was told to end.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Why it will not become ready by itself: reason and message.
pub(super) fn trouble(pod: &Pod) -> Option<(&'static str, String)> {
    if let Some((status, reason, message)) = condition(pod, "PodScheduled")
        && status == "False"
        && reason == Some("Unschedulable")
    {
        let message = format!(
            "pod {} finds no node: {}",
            pod.name_any(),
            message.unwrap_or("no reason given")
        );
        return Some(("PodUnschedulable", message));
    }
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses
        .iter()
        .find_map(stuck)
        .map(|said| ("PodFailing", format!("pod {}: {said}", pod.name_any())))
}

fn stuck(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| STUCK.contains(reason))?;
    let last = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended =
        last.map(|ended| format!("it ended with exit code {}; see its log", ended.exit_code));
    let message = ended
        .or_else(|| waiting.message.clone())
        .unwrap_or_default();
    Some(format!("{reason}: {message}"))
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((
        &found.status,
        found.reason.as_deref(),
        found.message.as_deref(),
    ))
}
