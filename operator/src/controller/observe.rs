//! What the pods say of themselves.
//!
//! Kubernetes knows whether a pod is ready, not why it is not, nor how many clients it has. Its admin listener does: all
//! are asked about their clients (`/drain`) before anything is planned, at the end those that are not ready why (`/readyz`),
//! and those that are of the newest revision which configuration counts there (`/config`). One that does not answer has
//! simply said nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use futures_util::stream::{self, StreamExt as _};
use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use serde::Deserialize;

use super::build::config_map;
use super::servers::{self, Drain, Loaded, Servers};
use super::status::pods::is_ready;

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
    let asked = pods
        .iter()
        .filter(|pod| !is_ready(pod))
        .filter_map(|pod| Some((pod.name_any(), SocketAddr::new(address(pod)?, admin_port))));
    let asking = asked.map(async |(pod, address)| {
        let report = report(address).await?;
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
    let (_, body) = servers::ask(address, Method::GET, "/readyz").await.ok()?;
    serde_json::from_slice(&body).ok()
}

/// What each server says of its clients, by the name of its pod.
pub(crate) async fn drains(pods: &[Pod], servers: &dyn Servers) -> BTreeMap<String, Drain> {
    let asking = pods.iter().map(async |pod| {
        let state = servers.look(address(pod)?).await.ok()?;
        Some((pod.name_any(), state))
    });
    stream::iter(asking.collect::<Vec<_>>())
        .buffered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// What a pod's server has not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unloaded {
    pub(crate) pod: String,
    /// The configuration that counts there is not the newest.
    pub(crate) is_behind: bool,
    /// A file there cannot be used, and why.
    pub(crate) problem: Option<String>,
}

/// The pods that say that they have not loaded this configuration, of those that see it, or cannot load another file.
pub(crate) async fn unloaded(
    pods: &[Pod],
    wanted: &ConfigMap,
    servers: &dyn Servers,
) -> Vec<Unloaded> {
    let (name, hash) = (wanted.name_any(), config_map::hash(wanted));
    let asked = pods.iter().filter(|pod| sees(pod, &name));
    let asking = asked.map(async |pod| {
        let Loaded { config, files } = servers.loaded(address(pod)?).await.ok()?;
        let others = files.into_iter().filter_map(|file| file.problem);
        let unloaded = Unloaded {
            pod: pod.name_any(),
            is_behind: config.hash != hash,
            problem: config.problem.into_iter().chain(others).next(),
        };
        (unloaded.is_behind || unloaded.problem.is_some()).then_some(unloaded)
    });
    stream::iter(asking.collect::<Vec<_>>())
        .buffered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Whether the ConfigMap is mounted there: pods of earlier revisions have others.
fn sees(pod: &Pod, config_map: &str) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| volume.config_map.as_ref())
        .any(|mounted| mounted.name == config_map)
}

/// Where a pod is reached.
pub(crate) fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
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
