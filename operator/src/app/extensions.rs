//! Watches kinds that need not be installed, such as those of the Gateway API.
//!
//! A kind that the API server does not know is asked for again, with a pause that grows to half a minute: once it is
//! installed it is watched. That has a stream of its own, because the controller pauses all of its watches when one fails.

use std::sync::Arc;

use chatcluster_chat_api::cluster::ChatCluster;
use futures_util::stream::{BoxStream, StreamExt as _};
use kube::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::cluster_of;
use crate::absent::is_absent;
use crate::controller;
use crate::metrics::Metrics;
use crate::names;

/// The ChatClusters whose objects of this kind changed. It never ends.
pub(super) fn changes(
    api: Api<PartialObjectMeta<DynamicObject>>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, ObjectRef<ChatCluster>> {
    let children = watcher::Config::default().labels(&names::all_children());
    watcher(api, children)
        .default_backoff()
        .touched_objects()
        .filter_map(move |seen| {
            let found = match seen {
                Ok(object) => cluster_of(&object),
                Err(error) => {
                    tell(&error, &metrics);
                    None
                }
            };
            std::future::ready(found)
        })
        .boxed()
}

fn tell(error: &watcher::Error, metrics: &Metrics) {
    if is_not_to_be_watched(error) {
        // Nothing is broken: nobody has installed it, or the operator was not given the right.
        tracing::debug!(error = controller::chain(error), "a kind is not watched");
        return;
    }
    metrics.watch_failed();
    tracing::warn!(
        error = controller::chain(error),
        "a watch broke and is begun again"
    );
}

fn is_not_to_be_watched(error: &watcher::Error) -> bool {
    let watcher::Error::InitialListFailed(error) = error else {
        return false;
    };
    let is_forbidden = matches!(error, kube::Error::Api(status) if status.is_forbidden());
    is_forbidden || is_absent(error)
}
