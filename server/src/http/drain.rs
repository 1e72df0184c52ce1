//! `/drain`: begins the drain (POST), and says how far it is (GET).

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::drain::Drain;

pub(super) fn admin(drain: &Arc<Drain>) -> Router {
    let (asked, looked_at) = (Arc::clone(drain), Arc::clone(drain));
    let begin = async move |headers: HeaderMap| {
        // A browser names the page that asks: none has business here, and one must not drain a server on its user's machine.
        if headers.contains_key(header::ORIGIN) {
            return (StatusCode::FORBIDDEN, "not from a web page\n").into_response();
        }
        asked.begin();
        answer(StatusCode::ACCEPTED, &asked)
    };
    let look = async move || answer(StatusCode::OK, &looked_at);
    Router::new().route("/drain", get(look).post(begin))
}

fn answer(status: StatusCode, drain: &Drain) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(drain.state())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::http::Readiness;

    async fn ask(router: &Router, request: Request<Body>) -> (u16, String) {
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn request(method: &str) -> Request<Body> {
        let request = Request::builder().method(method).uri("/drain");
        request.body(Body::empty()).unwrap()
    }

    fn state(status: u16, draining: bool, done: bool) -> (u16, String) {
        let body = format!(r#"{{"draining":{draining},"sessions":0,"done":{done}}}"#);
        (status, body)
    }

    #[tokio::test]
    async fn only_a_post_begins_the_drain_and_only_once() {
        let readiness = Readiness::default();
        let accepting = readiness.flag("accepting", "draining");
        accepting.set(true);
        let drain = Arc::new(Drain::new(Vec::new(), accepting));
        let router = admin(&drain);
        assert_eq!(ask(&router, request("GET")).await, state(200, false, false));
        let mut from_page = request("POST");
        let origin = "http://page.example".parse().unwrap();
        from_page.headers_mut().insert(header::ORIGIN, origin);
        assert_eq!(ask(&router, from_page).await.0, 403);
        assert!(readiness.is_ready());

        assert_eq!(ask(&router, request("POST")).await, state(202, true, false));
        assert!(!readiness.is_ready(), "ready after the drain was begun");
        drain.begun().await;
        let pace = chatcluster_chat_api::ServerConfig::default();
        drain.run(&pace.validate().unwrap().drain).await;
        assert_eq!(ask(&router, request("POST")).await, state(202, true, true));
        assert_eq!(ask(&router, request("GET")).await, state(200, true, true));
    }
}
