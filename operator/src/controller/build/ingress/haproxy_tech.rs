//! Annotations of HAProxy Technologies' ingress controller, 3.2 and newer: those of a backend stand on the Service.
//!
//! Sources: haproxytech/kubernetes-ingress, `documentation/annotations.md` (cookie-persistence: ConfigMap or Service, not
//! Ingress; timeout-server; hard-stop-after, of the cap). `timeout-tunnel`, which holds for WebSockets, is the ConfigMap's alone;
//! it is one hour unless changed there, and heartbeats come more often.

use super::{Dialect, Route, ingress, keys};
use crate::controller::validate::Validated;

const PREFIX: &str = "haproxy.org";
/// The controller's own is 50 seconds.
const LEAST_SECONDS: i32 = 60;

pub(super) struct HaProxyTech;

impl Dialect for HaProxyTech {
    fn route(&self, cluster: &Validated) -> Route {
        let wish = &cluster.ingress;
        // A poll is answered when there is something to say, or with the next heartbeat.
        let seconds = LEAST_SECONDS.max(wish.heartbeat_seconds);
        let mut service_annotations = keys(PREFIX, [("timeout-server", format!("{seconds}s"))]);
        if wish.is_sticky {
            // `cookie NAME insert indirect nocache dynamic`: all replicas of the controller give a pod the same cookie.
            let name = wish.spec.affinity.cookie_name.clone();
            service_annotations.extend(keys(PREFIX, [("cookie-persistence", name)]));
        }
        Route {
            ingress: Some(ingress(cluster, Default::default())),
            service_annotations,
            ..Route::default()
        }
    }

    fn cap(&self) -> Option<&'static str> {
        Some(
            "HAProxy ends all connections of before a reload 30 minutes after it: raise `hard-stop-after` in the \
             controller's ConfigMap",
        )
    }
}
