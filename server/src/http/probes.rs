//! `/livez` and `/readyz`: whether to restart this process, and whether to send it clients.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::RwLock;
use serde::Serialize;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Everything that must hold before clients are welcome, each with its name.
#[derive(Default)]
pub struct Readiness(RwLock<Vec<(&'static str, Check)>>);

/// A check that somebody sets.
#[derive(Clone, Debug)]
pub struct Flag(Arc<AtomicBool>);

impl Readiness {
    /// Adds a check; it says why it does not hold. It is called at each probe, so it must not block.
    pub fn add(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.0.write().push((name, Box::new(check)));
    }

    /// Adds a check that does not hold, for `reason`, until it is set.
    pub fn flag(&self, name: &'static str, reason: &'static str) -> Flag {
        let flag = Flag(Arc::new(AtomicBool::new(false)));
        let held = flag.clone();
        self.add(name, move || {
            if held.holds() {
                Ok(())
            } else {
                Err(reason.to_owned())
            }
        });
        flag
    }

    /// Whether every check holds.
    pub fn is_ready(&self) -> bool {
        self.0.read().iter().all(|(_, check)| check().is_ok())
    }

    fn report(&self) -> Report {
        let checks: Vec<Checked> = self
            .0
            .read()
            .iter()
            .map(|(name, check)| Checked {
                name,
                reason: check().err(),
            })
            .collect();
        Report {
            ready: checks.iter().all(|check| check.reason.is_none()),
            checks,
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.read().iter().map(|(name, _)| name))
            .finish()
    }
}

impl Flag {
    /// Says whether the check holds.
    pub fn set(&self, holds: bool) {
        self.0.store(holds, Ordering::Release);
    }

    fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The probes for everybody: yes or no, without inner matters.
pub(super) fn public(readiness: &Arc<Readiness>) -> Router {
    let readiness = Arc::clone(readiness);
    let ready = async move || {
        let is_ready = readiness.is_ready();
        answer(is_ready, if is_ready { "ready\n" } else { "not ready\n" })
    };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
}

/// The probes for operators: which check does not hold, and why.
pub(super) fn admin(readiness: &Arc<Readiness>) -> Router {
    let readiness = Arc::clone(readiness);
    let ready = async move || {
        let report = readiness.report();
        answer(report.ready, Json(report))
    };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
}

async fn live() -> Response {
    answer(true, "alive\n")
}

fn answer(is_good: bool, body: impl IntoResponse) -> Response {
    let status = if is_good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_server_is_ready_when_every_check_holds() {
        let readiness = Arc::new(Readiness::default());
        let listening = readiness.flag("listening", "the nodes do not listen yet");
        readiness.add("history", || Ok(()));
        assert_eq!(
            ask(public(&readiness), "/readyz").await,
            (503, "not ready\n".to_owned())
        );
        let expected = r#"{"ready":false,"checks":[{"name":"listening","reason":"the nodes do not listen yet"},{"name":"history"}]}"#;
        assert_eq!(
            ask(admin(&readiness), "/readyz").await,
            (503, expected.to_owned())
        );
        listening.set(true);
        assert_eq!(
            ask(public(&readiness), "/readyz").await,
            (200, "ready\n".to_owned())
        );
        assert_eq!(ask(admin(&readiness), "/readyz").await.0, 200);
        assert_eq!(
            ask(public(&readiness), "/livez").await,
            (200, "alive\n".to_owned())
        );
    }
}
