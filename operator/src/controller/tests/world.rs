//! An operator in a scripted world: its API server, the controllers of Kubernetes, and servers.

use serde_json::json;

use super::super::servers::{Loaded, LoadedConfig};
use super::super::*;
use crate::fixtures::{self, Api, ScriptedServers};

/// An operator, an API server, and one ChatCluster in it.
pub(super) struct World {
    pub(super) api: Api,
    pub(super) servers: ScriptedServers,
    pub(super) context: Arc<Context>,
    name: String,
}

impl World {
    /// With this ChatCluster and the Secrets that it names.
    pub(super) fn new(cluster: &ChatCluster) -> Self {
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
        let servers = ScriptedServers::default();
        let context = fixtures::context(&api, &servers);
        Self {
            api,
            servers,
            context: Arc::new(context),
            name: cluster.name_any(),
        }
    }

    pub(super) fn minimal() -> Self {
        Self::new(&fixtures::minimal())
    }

    pub(super) fn cluster(&self) -> ChatCluster {
        serde_json::from_value(
            self.api
                .get(&format!("chatclusters/{}", self.name))
                .unwrap(),
        )
        .unwrap()
    }

    pub(super) async fn look(&self) -> Result<Action, Error> {
        reconcile(Arc::new(self.cluster()), Arc::clone(&self.context)).await
    }

    /// What was written since the last call.
    pub(super) fn wrote(&self) -> Vec<String> {
        self.api
            .writes()
            .into_iter()
            .map(|write| write.what)
            .collect()
    }

    /// Status and reason of a condition.
    pub(super) fn condition(&self, kind: &str) -> (String, String) {
        let status = self.cluster().status.expect("a status was written");
        let found = status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .expect(kind);
        (found.status, found.reason)
    }

    pub(super) fn message(&self, kind: &str) -> String {
        let status = self.cluster().status.unwrap();
        status
            .conditions
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .unwrap()
            .message
    }

    pub(super) fn set(&self) -> serde_json::Value {
        self.api.get("statefulsets/chat").unwrap()
    }

    /// What the StatefulSet controller and the kubelets do at once: pods come and go, and are ready.
    pub(super) fn control(&self) {
        self.control_nats(true);
        self.control_pods();
    }

    /// The same for the nats-server that the operator runs, if it runs one.
    pub(super) fn control_nats(&self, is_ready: bool) {
        let Some(set) = self.api.get("statefulsets/chat-nats") else {
            return;
        };
        let replicas = set["spec"]["replicas"].as_i64().unwrap();
        if replicas == 0 {
            if self.api.get("pods/chat-nats-0").is_some() {
                self.api.remove("pods/chat-nats-0");
            }
        } else {
            let mut pod = json!(fixtures::pod("chat-nats-0", is_ready));
            pod["metadata"]["labels"] = json!(validate::names(&self.cluster()).nats_labels());
            self.api.put("pods", pod);
        }
        self.api.edit("statefulsets/chat-nats", |set| {
            let ready = if is_ready { replicas } else { 0 };
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"], "replicas": replicas, "readyReplicas": ready,
                "updatedReplicas": replicas,
            });
        });
    }

    fn control_pods(&self) {
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

    /// What kubelets and servers do after a minute: the configurations are loaded that pods see.
    pub(super) fn load(&self) {
        for ordinal in 0..20 {
            if self.api.get(&format!("pods/chat-{ordinal}")).is_some() {
                self.servers
                    .load(ip(ordinal), loaded(self.mounted_hash(ordinal)));
            }
        }
    }

    fn start(&self, ordinal: i64, revision: &str) {
        let mut pod = json!(fixtures::pod(&format!("chat-{ordinal}"), true));
        pod["spec"] = json!({ "containers": [], "volumes": self.set()["spec"]["template"]["spec"]["volumes"] });
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

    /// The hash of the configuration that this pod sees.
    pub(super) fn mounted_hash(&self, ordinal: i64) -> String {
        let pod = self.api.get(&format!("pods/chat-{ordinal}")).unwrap();
        let name = pod["spec"]["volumes"][0]["configMap"]["name"]
            .as_str()
            .unwrap();
        let config_map = self.api.get(&format!("configmaps/{name}")).unwrap();
        let yaml = config_map["data"]["server.yaml"].as_str().unwrap();
        validate::short_hash(yaml.as_bytes())
    }

    /// All configurations, as they are.
    pub(super) fn config_maps(&self) -> Vec<serde_json::Value> {
        self.api.all("configmaps/chat-config-")
    }

    /// Pods by number, and whether they accept.
    pub(super) fn accepting(&self) -> Vec<(i64, bool)> {
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
    pub(super) fn shape(&self) -> [i64; 3] {
        let spec = &self.set()["spec"];
        [
            &spec["replicas"],
            &spec["ordinals"]["start"],
            &spec["updateStrategy"]["rollingUpdate"]["partition"],
        ]
        .map(|value| value.as_i64().unwrap_or(0))
    }

    /// Until nothing is under way; Kubernetes and servers do their part between looks.
    pub(super) async fn finish(&self) {
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

    pub(super) fn rollout(&self) -> Option<String> {
        self.cluster().status?.rollout?.reason
    }
}

/// A server on which the file with this hash counts, and all others are well.
pub(super) fn loaded(hash: String) -> Loaded {
    Loaded {
        config: LoadedConfig {
            hash,
            problem: None,
        },
        files: Vec::new(),
    }
}

/// Where the pod with this number is.
pub(super) fn ip(ordinal: i64) -> std::net::IpAddr {
    std::net::Ipv4Addr::new(127, 0, 0, u8::try_from(ordinal + 10).unwrap()).into()
}
