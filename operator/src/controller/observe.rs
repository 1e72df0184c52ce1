//! What the pods say of themselves: the fifth step, and the only one that speaks to servers.
//!
//! Kubernetes knows whether a pod is ready, not why it is not. Its admin listener does (`/readyz`). Only pods that are not
//! ready are asked, each within a deadline; one that does not answer has simply said nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::status::pods::is_ready;

/// What one pod may take: it is near, and says what it knows.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Pods that are asked at the same time.
const AT_ONCE: usize = 16;
/// The check of `/readyz` that is about NATS.
const NATS: &str = "nats";

/// Why a pod's server is not joined to the others through NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Apart {
    pub(crate) pod: String,
    pub(crate) reason: String,
}

#[derive(Deserialize)]
struct Report {
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    reason: Option<String>,
}

/// The pods that say that they are not joined.
pub(crate) async fn apart_from_nats(pods: &[Pod], admin_port: u16) -> Vec<Apart> {
    let asked = pods.iter().filter(|pod| !is_ready(pod)).filter_map(|pod| {
        let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
        Some((pod.name_any(), SocketAddr::new(ip, admin_port)))
    });
    let asking = asked.map(async |(pod, address)| {
        let report = timeout(PATIENCE, report(address)).await.ok().flatten()?;
        let check = report.checks.into_iter().find(|check| check.name == NATS)?;
        Some(Apart {
            pod,
            reason: check.reason?,
        })
    });
    // In the order of pods, so that a message does not change by itself.
    stream::iter(asking.collect::<Vec<_>>())
        .buffered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Whatever goes wrong: it has said nothing.
async fn report(address: SocketAddr) -> Option<Report> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get("/readyz").header(http::header::HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let asking = async move {
        let answer = sender.send_request(request).await.ok()?;
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .ok()?;
        serde_json::from_slice(&body.to_bytes()).ok()
    };
    let (report, _ended) = tokio::join!(asking, connection);
    report
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, routing::get};
    use tokio::net::TcpListener;

    use super::*;
    use crate::fixtures;

    async fn serving(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let routes = Router::new().route(
            "/readyz",
            get(async move || (StatusCode::SERVICE_UNAVAILABLE, answer)),
        );
        tokio::spawn(async move { axum::serve(listener, routes).await });
        port
    }

    #[tokio::test]
    async fn a_pod_says_why_it_is_not_joined() {
        // As the server writes it (`server/src/http/probes.rs`).
        let answer = r#"{"ready":false,"checks":[{"name":"history"},{"name":"nats","reason":"no answer from NATS"}]}"#;
        let port = serving(answer).await;
        let pods = [
            fixtures::pod("chat-0", false),
            fixtures::pod("chat-1", true),
        ];
        let said = apart_from_nats(&pods, port).await;
        assert_eq!(
            said,
            [Apart {
                pod: "chat-0".to_owned(),
                reason: "no answer from NATS".to_owned()
            }]
        );
    }

    #[tokio::test]
    async fn a_pod_that_is_joined_or_says_nothing_is_not_named() {
        let pods = [fixtures::pod("chat-0", false)];
        let joined = serving(r#"{"ready":false,"checks":[{"name":"nats"},{"name":"accepting","reason":"draining"}]}"#).await;
        assert_eq!(apart_from_nats(&pods, joined).await, []);
        assert_eq!(apart_from_nats(&pods, serving("hello").await).await, []);
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(apart_from_nats(&pods, gone).await, []);
    }
}
