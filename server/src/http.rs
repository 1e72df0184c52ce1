//! HTTP beside the sockets: the page, the client bundle, probes, metrics.
//!
//! [`public`] and [`admin`] are routers without state; the socket layer and whatever else listens
//! on the public address is added by the one who serves them.

mod assets;
mod config;
mod cors;
mod drain;
mod probes;

use std::sync::Arc;

use axum::{Router, http::header, response::IntoResponse, routing::get};
use chatcluster_chat_api::Cors;

pub use assets::CLIENT_VERSION;
pub use probes::{Flag, Readiness};

use crate::drain::Drain;
use crate::metrics::{self, Metrics};
use crate::reload::Status;

/// What clients may ask: the page, the client bundle, and whether the server lives.
pub fn public(readiness: &Arc<Readiness>, cors: Option<Cors>) -> Router {
    assets::router(cors).merge(probes::public(readiness))
}

/// What operators may ask: metrics, why the server is not ready, which configuration counts, and that it drains.
pub fn admin(
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    drain: &Arc<Drain>,
    reload: &Arc<Status>,
) -> Router {
    let metrics = Arc::clone(metrics);
    let scrape = async move || {
        (
            [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
            metrics.render(),
        )
            .into_response()
    };
    Router::new()
        .route("/metrics", get(scrape))
        .merge(probes::admin(readiness))
        .merge(drain::admin(drain))
        .merge(config::admin(reload))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn metrics_configuration_and_drain_are_on_the_admin_side_only() {
        let readiness = Arc::new(Readiness::default());
        let ask = async |router: Router, path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.oneshot(request).await.unwrap()
        };
        let drain = Drain::new(Vec::new(), readiness.flag("accepting", "draining"));
        let reload = Status::new(None, b"", std::iter::empty());
        let (metrics_of, drain) = (Arc::new(Metrics::new()), Arc::new(drain));
        let router = admin(&readiness, &metrics_of, &drain, &reload);
        for path in ["/drain", "/config"] {
            assert_eq!(ask(router.clone(), path).await.status(), 200);
        }
        let answer = ask(router, "/metrics").await;
        assert_eq!(answer.headers()["content-type"], metrics::CONTENT_TYPE);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"# EOF\n"));
        for path in ["/metrics", "/drain", "/config"] {
            assert_eq!(ask(public(&readiness, None), path).await.status(), 404);
        }
    }
}
