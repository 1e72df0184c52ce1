//! Whole looks against an API server that writes down what it was asked: order, idempotence, repair, and for each error the
//! condition that tells it.

use serde_json::json;

use super::*;
use crate::fixtures::{self, Api, ScriptedServers};

/// An operator, an API server, and one ChatCluster in it.
struct World {
    api: Api,
    servers: ScriptedServers,
    context: Arc<Context>,
    name: String,
}

impl World {
    /// With this ChatCluster and the Secrets that it names.
    fn new(cluster: &ChatCluster) -> Self {
        let api = Api::default();
        api.put("chatclusters", cluster);
        for mounted in validate::mounted(&cluster.spec) {
            let key = format!("secrets/{}", mounted.secret);
            let mut data = api
                .get(&key)
                .map_or_else(|| json!({}), |secret| secret["data"].clone());
            for entry in mounted.keys {
                data[entry] = "c2VjcmV0".into();
            }
            api.put("secrets", json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": mounted.secret }, "data": data }));
        }
        let (client, servers) = (api.client(), ScriptedServers::default());
        let context = Context {
            settings: fixtures::settings(),
            events: Events::new(client.clone(), "operator-0".to_owned()),
            metrics: Arc::new(Metrics::new()),
            backoff: Backoff::default(),
            servers: Box::new(servers.clone()),
            resync: Duration::from_secs(300),
            client,
        };
        Self {
            api,
            servers,
            context: Arc::new(context),
            name: cluster.name_any(),
        }
    }

    fn minimal() -> Self {
        Self::new(&fixtures::minimal())
    }

    fn cluster(&self) -> ChatCluster {
        serde_json::from_value(
            self.api
                .get(&format!("chatclusters/{}", self.name))
                .unwrap(),
        )
        .unwrap()
    }

    async fn look(&self) -> Result<Action, Error> {
        reconcile(Arc::new(self.cluster()), Arc::clone(&self.context)).await
    }

    /// What was written since the last call.
    fn wrote(&self) -> Vec<String> {
        self.api
            .writes()
            .into_iter()
            .map(|write| write.what)
            .collect()
    }

    /// Status and reason of a condition.
    fn condition(&self, kind: &str) -> (String, String) {
        let status = self.cluster().status.expect("a status was written");
        let found = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .expect(kind);
        (found.status, found.reason)
    }

    fn message(&self, kind: &str) -> String {
        let status = self.cluster().status.unwrap();
        status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .unwrap()
            .message
    }

    /// What Kubernetes' own controllers do until all pods run.
    fn settle(&self) {
        self.control();
    }

    fn set(&self) -> serde_json::Value {
        self.api.get("statefulsets/chat").unwrap()
    }

    /// What the StatefulSet controller and the kubelets do at once: pods come and go, and are ready.
    fn control(&self) {
        let set = self.set();
        let number = |value: &serde_json::Value| value.as_i64().unwrap_or(0);
        let (replicas, start) = (
            number(&set["spec"]["replicas"]),
            number(&set["spec"]["ordinals"]["start"]),
        );
        let partition = number(&set["spec"]["updateStrategy"]["rollingUpdate"]["partition"]);
        let template = set["spec"]["template"].to_string();
        let update = format!("chat-{}", validate::short_hash(template.as_bytes()));
        let current = set["status"]["currentRevision"]
            .as_str()
            .unwrap_or(&update)
            .to_owned();
        let mut updated = 0;
        for ordinal in 0..start + replicas + 10 {
            let (index, key) = (ordinal - start, format!("pods/chat-{ordinal}"));
            let mut pod = self.api.get(&key);
            let is_wanted = (0..replicas).contains(&index);
            let is_old = |pod: &serde_json::Value| {
                pod["metadata"]["labels"]["controller-revision-hash"] != *update
            };
            if pod
                .as_ref()
                .is_some_and(|pod| !is_wanted || (index >= partition && is_old(pod)))
            {
                self.api.remove(&key);
                pod = None;
            }
            if is_wanted && pod.is_none() {
                let revision = if index < partition { &current } else { &update };
                self.start(ordinal, revision);
            }
            updated += i64::from(is_wanted && !is_old(&self.api.get(&key).unwrap()));
        }
        self.api.edit("statefulsets/chat", |set| {
            let current = if updated == replicas { &update } else { &current };
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"], "replicas": replicas, "readyReplicas": replicas,
                "updatedReplicas": updated, "currentRevision": current, "updateRevision": update,
            });
        });
    }

    fn start(&self, ordinal: i64, revision: &str) {
        let mut pod = json!(fixtures::pod(&format!("chat-{ordinal}"), true));
        pod["metadata"]["labels"] = json!(validate::names(&self.cluster()).labels());
        pod["metadata"]["labels"]["controller-revision-hash"] = revision.into();
        pod["metadata"]["labels"]["chatcluster.dev/accepting"] = "true".into();
        pod["metadata"]["uid"] = format!("{ordinal}-of-{revision}").into();
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat", "uid": "uid-of-statefulsets/chat", "controller": true }]);
        pod["status"]["conditions"][0]["lastTransitionTime"] = "2020-01-01T00:00:00Z".into();
        pod["status"]["podIP"] = ip(ordinal).to_string().into();
        pod["status"]["containerStatuses"] = json!([{ "name": "server", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": { "running": {} } }]);
        self.api.put("pods", pod);
        self.servers.serve(ip(ordinal), 10);
    }

    /// Pods by number, and whether they accept.
    fn accepting(&self) -> Vec<(i64, bool)> {
        let label = |ordinal: i64| {
            let pod = self.api.get(&format!("pods/chat-{ordinal}"))?;
            Some((
                ordinal,
                pod["metadata"]["labels"]["chatcluster.dev/accepting"] == "true",
            ))
        };
        (0..20).filter_map(label).collect()
    }

    /// Replicas, start and partition.
    fn shape(&self) -> [i64; 3] {
        let spec = &self.set()["spec"];
        [
            &spec["replicas"],
            &spec["ordinals"]["start"],
            &spec["updateStrategy"]["rollingUpdate"]["partition"],
        ]
        .map(|value| value.as_i64().unwrap_or(0))
    }

    /// Until nothing is under way; Kubernetes and servers do their part between looks.
    async fn finish(&self) {
        for _ in 0..40 {
            if self.rollout().is_none() {
                return;
            }
            self.control();
            self.servers.finish();
            self.look().await.unwrap();
        }
        panic!("it does not end: {:?}", self.rollout());
    }

    fn rollout(&self) -> Option<String> {
        self.cluster().status?.rollout?.reason
    }
}

/// Where the pod with this number is.
fn ip(ordinal: i64) -> std::net::IpAddr {
    std::net::Ipv4Addr::new(127, 0, 0, u8::try_from(ordinal + 10).unwrap()).into()
}

#[tokio::test]
async fn the_first_look_creates_what_pods_need_before_them_and_their_clients_after() {
    let world = World::minimal();
    world.look().await.unwrap();
    let wrote = world.wrote();
    let config = wrote
        .iter()
        .find(|what| what.contains("configmaps"))
        .unwrap()
        .clone();
    assert_eq!(
        wrote,
        [
            "POST serviceaccounts/chat",
            "POST secrets/chat-peers",
            &config,
            "POST services/chat-pods",
            "POST services/chat",
            "POST networkpolicies/chat",
            "POST poddisruptionbudgets/chat",
            "POST statefulsets/chat",
            "APPLY chatclusters/chat/status",
        ]
    );
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "PodsNotReady".to_owned())
    );
    assert_eq!(
        world.condition("Degraded"),
        ("False".to_owned(), "AsExpected".to_owned())
    );
    assert_eq!(world.api.events(), ["Created"]);
}

#[tokio::test]
async fn a_cluster_that_is_as_it_shall_be_is_ready_and_not_written() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "AllPodsReady".to_owned())
    );
    let status = world.cluster().status.unwrap();
    assert_eq!(
        (
            status.replicas,
            status.ready_replicas,
            status.observed_generation
        ),
        (Some(3), Some(3), Some(1))
    );
    assert_eq!(
        status.endpoints.unwrap().url.as_deref(),
        Some("http://chat.team.svc")
    );
    world.wrote();
    world.look().await.unwrap();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn the_full_example_is_ready_and_idle_too() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    // An API server writes amounts its own way.
    world.api.edit("statefulsets/chat", |set| {
        let resources = &mut set["spec"]["template"]["spec"]["containers"][0]["resources"];
        resources["requests"]["cpu"] = "1".into();
    });
    world.api.edit("ingresses/chat", |ingress| {
        ingress["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    });
    world.settle();
    world.look().await.unwrap();
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    assert_eq!(world.condition("Ready").0, "True");
    assert_eq!(
        world.condition("IngressReady"),
        ("True".to_owned(), "AddressAssigned".to_owned())
    );
    assert_eq!(
        world
            .cluster()
            .status
            .unwrap()
            .endpoints
            .unwrap()
            .url
            .as_deref(),
        Some("https://support.example.com")
    );
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_back_under_the_uid_and_recorded_as_applied() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("services/chat", |service| {
        service["spec"]["ports"][0]["port"] = 8080.into()
    });
    world.look().await.unwrap();
    let writes = world.api.writes();
    let whats: Vec<&str> = writes.iter().map(|write| write.what.as_str()).collect();
    assert_eq!(whats, ["MERGE services/chat", "APPLY services/chat"]);
    assert_eq!(
        writes[0].body["metadata"]["managedFields"][0]["operation"],
        "Apply"
    );
    assert_eq!(writes[1].body["metadata"]["uid"], "uid-of-services/chat");
    assert_eq!(
        world.api.get("services/chat").unwrap()["spec"]["ports"][0]["port"],
        80
    );
    assert!(world.api.events().contains(&"Updated".to_owned()));
}

#[tokio::test]
async fn what_others_add_stays() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("services/chat", |service| {
        service["metadata"]["annotations"]["example.com/mine"] = "x".into();
        service["spec"]["clusterIP"] = "10.0.0.1".into();
    });
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn a_child_that_was_deleted_is_made_again() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.wrote();
    world.api.remove("poddisruptionbudgets/chat");
    world.look().await.unwrap();
    assert_eq!(world.wrote(), ["POST poddisruptionbudgets/chat"]);
}

#[tokio::test]
async fn a_foreign_object_is_named_and_never_touched() {
    let world = World::minimal();
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "chat" }, "spec": { "ports": [] } });
    world.api.put("services", &foreign);
    let before = world.api.get("services/chat");
    let error = world.look().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff);
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "ForeignObject".to_owned())
    );
    assert_eq!(
        world.condition("Ready"),
        ("False".to_owned(), "ForeignObject".to_owned())
    );
    assert!(
        world
            .message("Degraded")
            .starts_with("Service 'chat' exists and does not belong to this ChatCluster")
    );
    assert_eq!(world.api.get("services/chat"), before);
    assert!(
        world.api.get("statefulsets/chat").is_none(),
        "pods before their Service"
    );
}

#[tokio::test]
async fn a_foreign_stateful_set_says_nothing_about_the_cluster() {
    let world = World::minimal();
    world.api.put("statefulsets", json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "chat" },
        "spec": { "selector": {}, "serviceName": "", "template": {} },
        "status": { "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "observedGeneration": 1 },
    }));
    world.look().await.unwrap_err();
    assert_eq!(world.cluster().status.unwrap().replicas, Some(0));
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
}

#[tokio::test]
async fn a_child_of_a_namesake_that_was_deleted_is_not_taken_over() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["uid"] = "another".into()
    });
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
}

#[tokio::test]
async fn each_failure_has_its_condition_and_its_event() {
    for (method, path, code, reason) in [
        ("POST", "/serviceaccounts", 403, "ApplyRefused"),
        ("POST", "/statefulsets", 422, "ApplyRefused"),
        ("POST", "/services", 500, "ApplyFailed"),
        ("POST", "/configmaps", 409, "Conflict"),
        ("GET", "/pods", 500, "ReadFailed"),
        ("GET", "/services/chat", 403, "ReadFailed"),
    ] {
        let world = World::minimal();
        world.api.fail(method, path, code);
        let error = world.look().await.unwrap_err();
        assert_eq!(
            (error.reason(), error.retry()),
            (reason, Retry::Backoff),
            "{method} {path}"
        );
        assert_eq!(
            world.condition("Degraded"),
            ("True".to_owned(), reason.to_owned()),
            "{method} {path}"
        );
        assert_ne!(world.condition("Ready").0, "True");
        assert!(
            world.message("Degraded").contains(&code.to_string()),
            "the API server's own words"
        );
        assert!(
            world.api.events().contains(&reason.to_owned()),
            "{method} {path}"
        );
        assert_eq!(
            world.context.backoff.len(),
            0,
            "counted by the error policy, not here"
        );

        world.api.heal();
        world.look().await.unwrap();
        assert_eq!(world.condition("Degraded").0, "False", "{method} {path}");
        assert!(
            world.api.events().contains(&"Recovered".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_unknown_and_not_what_it_was() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.look().await.unwrap();
    world.api.fail("GET", "/statefulsets/chat", 500);
    world.look().await.unwrap_err();
    for kind in ["Ready", "Available", "Progressing", "NatsConnected"] {
        assert_eq!(
            world.condition(kind),
            ("Unknown".to_owned(), "NotObserved".to_owned()),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_then_succeeds() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.edit("services/chat", |service| {
        service["spec"]["ports"][0]["port"] = 8080.into()
    });
    world.api.fail("PATCH", "/services/chat", 409);
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("Conflict", Retry::Backoff)
    );
    world.api.heal();
    world.look().await.unwrap();
    assert_eq!(
        world.api.get("services/chat").unwrap()["spec"]["ports"][0]["port"],
        80
    );
}

#[tokio::test]
async fn an_absent_secret_is_a_condition_and_what_runs_stays() {
    let spec =
        "nats: {mode: External, urls: ['nats://a'], tokenSecretRef: {name: nats, key: token}}";
    let mut cluster = fixtures::cluster(spec);
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    world.settle();
    world.look().await.unwrap();
    world.wrote();
    world.api.remove("secrets/nats");
    let error = world.look().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff, "Secrets are not watched");
    assert_eq!(world.wrote(), ["APPLY chatclusters/chat/status"]);
    assert_eq!(
        world.condition("Degraded"),
        ("True".to_owned(), "SecretMissing".to_owned())
    );
    assert_eq!(world.condition("Available").0, "True");
    assert!(
        world
            .message("Degraded")
            .contains("Secret 'nats' with the entry 'token' is missing")
    );
}

#[tokio::test]
async fn a_secret_with_another_value_rolls_the_pods() {
    let spec =
        "nats: {mode: External, urls: ['nats://a'], tokenSecretRef: {name: nats, key: token}}";
    let mut cluster = fixtures::cluster(spec);
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("secrets/nats", |secret| {
        secret["data"]["token"] = "b3RoZXI=".into()
    });
    world.look().await.unwrap();
    assert!(
        world
            .wrote()
            .contains(&"APPLY statefulsets/chat".to_owned())
    );
}

#[tokio::test]
async fn a_spec_that_cannot_work_is_told_once_and_not_tried_again() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["podTemplate"] = json!({ "spec": { "contianers": [] } });
    });
    world.wrote();
    let error = world.look().await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry()),
        ("InvalidSpec", Retry::AwaitChange)
    );
    assert!(
        world
            .message("Degraded")
            .contains("spec.podTemplate.spec.contianers")
    );
    assert_eq!(world.cluster().status.unwrap().observed_generation, Some(2));
    world.wrote();
    world.look().await.unwrap_err();
    assert_eq!(
        world.wrote(),
        Vec::<String>::new(),
        "the same status is not written again"
    );
}

#[tokio::test]
async fn while_paused_only_the_status_is_written() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["reconciliation"] = "Paused".into();
        cluster["spec"]["replicas"] = 5.into();
    });
    world.api.remove("services/chat");
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), ["APPLY chatclusters/chat/status"]);
    assert_eq!(world.condition("ReconciliationPaused").0, "True");
    assert_eq!(
        world.condition("Ready"),
        ("Unknown".to_owned(), "ReconciliationPaused".to_owned())
    );
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["reconciliation"] = "Active".into()
    });
    world.look().await.unwrap();
    assert!(world.wrote().contains(&"POST services/chat".to_owned()));
}

#[tokio::test]
async fn what_is_switched_off_is_deleted_and_of_others_it_is_not() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.api.put("ingresses", json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "chat" } }));
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["availability"]["podDisruptionBudget"] = "Disabled".into();
        cluster["spec"]["networkPolicy"] = "Disabled".into();
    });
    world.wrote();
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert_eq!(
        wrote[..2],
        [
            "DELETE networkpolicies/chat",
            "DELETE poddisruptionbudgets/chat"
        ]
    );
    assert!(world.api.get("ingresses/chat").is_some(), "somebody else's");
}

/// The full example with another controller, as `chat`.
fn at_a_gateway() -> ChatCluster {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let mut written = json!(cluster.spec.ingress);
    for (field, value) in [
        ("controller", json!("EnvoyGateway")),
        ("gatewayRef", json!({ "name": "public" })),
        ("className", json!(null)),
        ("tlsSecretRef", json!(null)),
    ] {
        written[field] = value;
    }
    cluster.spec.ingress = serde_json::from_value(written).unwrap();
    cluster
}

#[tokio::test]
async fn another_dialect_takes_the_place_of_the_old_one_and_nothing_of_it_is_left() {
    let mut cluster = fixtures::full();
    cluster.metadata.name = Some("chat".to_owned());
    let world = World::new(&cluster);
    world.look().await.unwrap();
    assert!(world.wrote().contains(&"POST ingresses/chat".to_owned()));
    let choose = |ingress: serde_json::Value| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"]["ingress"] = ingress
        });
    };
    choose(json!(at_a_gateway().spec.ingress));
    world.look().await.unwrap();
    assert_eq!(
        world.wrote()[..3],
        [
            "POST httproutes/chat",
            "POST backendtrafficpolicies/chat",
            "DELETE ingresses/chat"
        ]
    );
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new(), "an idle look");

    choose(json!({ "controller": "Traefik", "host": "a.example" }));
    world.look().await.unwrap();
    let wrote = world.wrote();
    assert_eq!(
        wrote[..5],
        [
            "MERGE services/chat",
            "APPLY services/chat",
            "POST ingresses/chat",
            "DELETE httproutes/chat",
            "DELETE backendtrafficpolicies/chat"
        ]
    );

    choose(json!({ "controller": "ClientIP" }));
    world.look().await.unwrap();
    let service = world.api.get("services/chat").unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    choose(json!({ "controller": "None" }));
    world.look().await.unwrap();
    let service = world.api.get("services/chat").unwrap();
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert!(service["spec"]["sessionAffinity"].is_null(), "{service}");
    assert!(world.api.get("ingresses/chat").is_none());
}

#[tokio::test]
async fn what_changed_by_hand_in_a_route_is_put_back() {
    let world = World::new(&at_a_gateway());
    world.look().await.unwrap();
    world.wrote();
    world.api.edit("httproutes/chat", |route| {
        route["spec"]["hostnames"] = json!(["other.example"])
    });
    world.look().await.unwrap();
    assert_eq!(
        world.wrote(),
        ["MERGE httproutes/chat", "APPLY httproutes/chat"]
    );
    let route = world.api.get("httproutes/chat").unwrap();
    assert_eq!(route["spec"]["hostnames"], json!(["support.example.com"]));
    assert_eq!(route["kind"], "HTTPRoute");
}

#[tokio::test]
async fn without_the_definitions_of_the_gateway_api_the_rest_goes_on() {
    let world = World::new(&at_a_gateway());
    for path in ["/httproutes", "/backendtrafficpolicies"] {
        world.api.fail("POST", path, 404);
    }
    world.look().await.unwrap();
    assert_eq!(
        world.condition("IngressReady"),
        ("False".to_owned(), "KindNotInstalled".to_owned())
    );
    assert_eq!(
        world.message("IngressReady"),
        "the API server does not know HTTPRoute (gateway.networking.k8s.io/v1) and BackendTrafficPolicy \
         (gateway.envoyproxy.io/v1alpha1): install the definitions of the Gateway API and of its controller"
    );
    assert_eq!(world.condition("Degraded").0, "False");
    assert!(world.api.get("statefulsets/chat").is_some());

    world.api.heal();
    world.look().await.unwrap();
    assert!(world.api.get("httproutes/chat").is_some());
    assert_eq!(world.condition("IngressReady").1, "NoAnswer");
    world.api.edit("httproutes/chat", |route| {
        let said = |kind| json!({ "type": kind, "status": "True", "observedGeneration": 1 });
        route["status"] =
            json!({ "parents": [{ "conditions": [said("Accepted"), said("ResolvedRefs")] }] });
    });
    world.look().await.unwrap();
    assert_eq!(
        world.condition("IngressReady"),
        ("True".to_owned(), "RouteAccepted".to_owned())
    );
}

#[tokio::test]
async fn a_foreign_route_is_named_where_it_is_in_the_way_and_left_where_it_is_not() {
    let foreign = json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "chat" }, "spec": {} });
    let world = World::new(&at_a_gateway());
    world.api.put("httproutes", &foreign);
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ForeignObject");
    assert!(
        world
            .message("Degraded")
            .starts_with("HTTPRoute 'chat' exists and does not belong to this ChatCluster")
    );

    let world = World::minimal();
    world.api.put("httproutes", &foreign);
    world.look().await.unwrap();
    world.look().await.unwrap();
    assert!(world.api.get("httproutes/chat").is_some());
    assert_eq!(world.condition("Degraded").0, "False");
}

#[tokio::test]
async fn no_right_to_read_routes_is_no_failure_while_there_are_none() {
    let world = World::minimal();
    world.api.fail("GET", "/httproutes/chat", 403);
    world.look().await.unwrap();
    assert_eq!(world.condition("Degraded").0, "False");

    let world = World::new(&at_a_gateway());
    world.api.fail("GET", "/httproutes/chat", 403);
    world.api.fail("POST", "/httproutes", 403);
    world.look().await.unwrap_err();
    assert_eq!(world.condition("Degraded").1, "ApplyRefused");
}

#[tokio::test]
async fn an_old_configuration_stays_until_no_pod_can_need_it() {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["server"]["maxConnections"] = 1000.into()
    });
    let configs = |wrote: Vec<String>| -> Vec<String> {
        wrote
            .into_iter()
            .filter(|what| what.contains("configmaps"))
            .map(|what| what.split(' ').next().unwrap().to_owned())
            .collect()
    };
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(configs(world.wrote()), ["POST"]);
    world.look().await.unwrap();
    assert_eq!(configs(world.wrote()), Vec::<String>::new());
    let mut wrote = Vec::new();
    for _ in 0..40 {
        if world.rollout().is_none() {
            break;
        }
        world.control();
        world.servers.finish();
        wrote.extend(world.wrote());
        world.look().await.unwrap();
    }
    assert_eq!(configs(wrote), Vec::<String>::new());
    assert_eq!(configs(world.wrote()), ["DELETE"]);
}

#[tokio::test]
async fn suspended_is_asked_for_and_so_it_is_ready_and_not_available() {
    let world = World::minimal();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["state"] = "Suspended".into()
    });
    world.look().await.unwrap();
    assert_eq!(
        world.api.get("statefulsets/chat").unwrap()["spec"]["replicas"],
        0
    );
    world.settle();
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "Suspended".to_owned())
    );
    assert_eq!(world.condition("Available").0, "False");
}

#[tokio::test]
async fn a_cluster_that_is_deleted_is_left_to_its_owner_references() {
    let world = World::minimal();
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    });
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    let gone = Arc::new(world.cluster());
    world.api.remove("chatclusters/chat");
    reconcile(gone, Arc::clone(&world.context)).await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
}

#[tokio::test]
async fn no_secret_leaves_its_place() {
    let world = World::minimal();
    world.look().await.unwrap();
    let secret = world.api.get("secrets/chat-peers").unwrap()["data"]["relay-secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(secret.len() > 40, "{}", secret.len());
    for write in world
        .api
        .writes()
        .iter()
        .filter(|write| !write.what.contains("secrets/"))
    {
        assert!(!write.body.to_string().contains(&secret), "{}", write.what);
    }
}

#[test]
fn an_error_is_told_with_its_causes_once() {
    let status = kube::core::Status {
        code: 422,
        message: "spec.ports: Required value".to_owned(),
        ..Default::default()
    };
    let error = Error::Apply(apply::Error::Refused {
        kind: "Service".to_owned(),
        name: "chat".to_owned(),
        source: Box::new(kube::Error::Api(Box::new(status))),
    });
    assert_eq!(
        chain(&error),
        "the API server refuses Service 'chat': spec.ports: Required value"
    );
}

/// A cluster of three pods at rest, each with ten clients.
async fn at_rest() -> World {
    let world = World::minimal();
    world.look().await.unwrap();
    world.settle();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
    world.wrote();
    world
}

fn ask_for(world: &World, image: &str) {
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["image"] =
            json!({ "repository": "registry.example.com/chat", "tag": image });
    });
}

#[tokio::test]
async fn a_new_image_takes_the_straight_course() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    assert_eq!(
        world.shape(),
        [3, 0, 3],
        "the template alone, and nothing restarts"
    );
    assert_eq!(world.rollout().as_deref(), Some("TemplateChanged"));
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [4, 0, 3], "one more");
    world.control();
    world.look().await.unwrap();
    assert_eq!(
        world.accepting(),
        [(0, false), (1, false), (2, false), (3, true)]
    );
    for (index, ordinal) in [(2, 2), (1, 1)] {
        assert!(
            world.servers.get(ip(ordinal)).unwrap().draining,
            "{ordinal}"
        );
        assert_eq!(world.rollout().as_deref(), Some("PodDraining"));
        assert!(
            world
                .message("Draining")
                .ends_with(&format!("chat-{ordinal} (10 left)"))
        );
        world.look().await.unwrap();
        assert_eq!(world.shape()[2], index + 1, "not before it is drained");
        world.servers.finish();
        world.look().await.unwrap();
        assert_eq!(world.shape(), [4, 0, index]);
        world.control();
        world.look().await.unwrap();
    }
    assert!(world.servers.get(ip(0)).unwrap().draining);
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 1, 0], "the lowest leaves");
}

#[tokio::test]
async fn a_rollout_ends_at_rest_and_each_of_its_steps_was_told() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    world.finish().await;
    assert_eq!(
        world.shape(),
        [3, 1, 3],
        "at rest nothing is replaced by itself"
    );
    assert_eq!(world.condition("Ready").0, "True");
    assert_eq!(world.accepting(), [(1, true), (2, true), (3, true)]);
    world.wrote();
    world.look().await.unwrap();
    assert_eq!(world.wrote(), Vec::<String>::new());
    for told in [
        "TemplateChanged",
        "SurgePodAdded",
        "PodDraining",
        "PodReplaced",
        "PodRemoved",
        "Completing",
    ] {
        assert!(
            world.api.events().contains(&told.to_owned()),
            "{told}: {:?}",
            world.api.events()
        );
    }
}

#[tokio::test]
async fn template_and_shape_are_one_write() {
    let world = at_rest().await;
    ask_for(&world, "2");
    world.look().await.unwrap();
    let writes = world.api.writes();
    let of_set: Vec<_> = writes
        .iter()
        .filter(|write| write.what == "APPLY statefulsets/chat")
        .collect();
    assert_eq!(of_set.len(), 1);
    let spec = &of_set[0].body["spec"];
    assert_eq!(
        spec["template"]["spec"]["containers"][0]["image"],
        "registry.example.com/chat:2"
    );
    assert_eq!(
        (
            &spec["replicas"],
            &spec["ordinals"]["start"],
            &spec["updateStrategy"]["rollingUpdate"]["partition"]
        ),
        (&json!(3), &json!(0), &json!(3))
    );
}

#[tokio::test]
async fn a_scale_down_drains_from_the_top_one_pod_for_each_write() {
    let world = at_rest().await;
    world.api.edit("chatclusters/chat", |cluster| {
        cluster["spec"]["replicas"] = 1.into()
    });
    world.look().await.unwrap();
    assert_eq!(world.accepting(), [(0, true), (1, false), (2, false)]);
    assert_eq!(world.shape(), [3, 0, 3]);
    let draining = |ordinal| world.servers.get(ip(ordinal)).unwrap().draining;
    assert_eq!(
        (draining(0), draining(1), draining(2)),
        (false, false, true)
    );
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [2, 0, 2]);
    world.control();
    world.look().await.unwrap();
    assert_eq!((draining(0), draining(1)), (false, true));
    world.servers.finish();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [1, 0, 1]);
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn suspended_all_are_told_at_once_and_the_return_starts_all() {
    let world = at_rest().await;
    let state = |state: &str| {
        world.api.edit("chatclusters/chat", |cluster| {
            cluster["spec"]["state"] = state.into()
        })
    };
    state("Suspended");
    world.look().await.unwrap();
    assert!((0..3).all(|ordinal| world.servers.get(ip(ordinal)).unwrap().draining));
    assert_eq!(world.shape(), [3, 0, 3]);
    world.servers.finish();
    for left in [2, 1, 0] {
        world.look().await.unwrap();
        assert_eq!(world.shape(), [left, 0, left]);
        world.control();
    }
    world.look().await.unwrap();
    assert_eq!(
        world.condition("Ready"),
        ("True".to_owned(), "Suspended".to_owned())
    );
    state("Running");
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.condition("Ready").0, "True");
}

#[tokio::test]
async fn a_server_that_cannot_be_told_holds_the_rollout_and_is_named() {
    let world = at_rest().await;
    ask_for(&world, "2");
    for _ in 0..2 {
        world.look().await.unwrap();
        world.control();
    }
    world.servers.silence(ip(2));
    world.look().await.unwrap();
    assert_eq!(world.rollout().as_deref(), Some("PodUnreachable"));
    let said = world.message("Progressing");
    assert!(
        said.starts_with("pod chat-2 cannot be told to let its clients go: no answer from"),
        "{said}"
    );
    assert_eq!(world.shape(), [4, 0, 3]);
}

#[tokio::test]
async fn a_pod_that_does_not_end_on_a_lost_node_is_forgotten() {
    let world = at_rest().await;
    let node = |ready: &str| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
    world.api.put("nodes", node("True"));
    world.api.edit("pods/chat-1", |pod| {
        pod["spec"] = json!({ "nodeName": "n1", "containers": [] });
        pod["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    });
    world.look().await.unwrap();
    assert!(
        world.api.get("pods/chat-1").is_some(),
        "its kubelet is there"
    );
    world.api.put("nodes", node("Unknown"));
    world.wrote();
    world.look().await.unwrap();
    assert!(world.api.get("pods/chat-1").is_none());
    assert_eq!(world.rollout().as_deref(), Some("NodeLost"));
}

#[tokio::test]
async fn what_others_do_to_the_shape_is_put_right() {
    let world = at_rest().await;
    world.api.edit("statefulsets/chat", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into()
    });
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
    world.api.edit("statefulsets/chat", |set| {
        set["spec"]["replicas"] = 2.into()
    });
    world.control();
    world.look().await.unwrap();
    assert_eq!(world.shape(), [3, 0, 3]);
}
