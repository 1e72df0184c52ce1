//! `/livez`, `/readyz` and `/metrics`, for Kubernetes and Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use crate::metrics::{self, Metrics};

/// Whether the operator does its work: it waits for the lease, or has read what it watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says it.
    pub(crate) fn set(&self, is_ready: bool) {
        self.0.store(is_ready, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The routes. That an answer comes at all is what `/livez` says: a process that has lost the lease ends.
pub(crate) fn routes(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    let ready = async move || {
        if readiness.is_ready() {
            (StatusCode::OK, "ready\n")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "what is watched is not read yet\n",
            )
        }
    };
    let metrics = async move || {
        (
            [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
            metrics.render(),
        )
            .into_response()
    };
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_ready_when_it_says_so_and_alive_always() {
        let readiness = Readiness::default();
        let routes = routes(readiness.clone(), Arc::new(Metrics::new()));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            routes.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(ask("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/livez").await, StatusCode::OK);
        assert_eq!(ask("/metrics").await, StatusCode::OK);
        readiness.set(true);
        assert_eq!(ask("/readyz").await, StatusCode::OK);
    }
}
