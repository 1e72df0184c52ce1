//! Files that change under a server: what counts afterwards, what is told, what stays.

use serde_json::{Value, json};

use super::*;
use crate::args::Args;
use crate::settings;

const KEY: &str = "0123456789abcdef0123456789abcdef";

struct World {
    folder: tempfile::TempDir,
    reload: Reload,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
}

impl World {
    /// `FOLDER` in `yaml` stands for the folder of the files.
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), KEY).unwrap();
        let mut world = Self::start(folder, yaml);
        world.look();
        world
    }

    fn start(folder: tempfile::TempDir, yaml: &str) -> Self {
        write(&folder, "server.yaml", yaml);
        let args = Args {
            config: Some(folder.path().join("server.yaml")),
            ..Args::default()
        };
        let source = settings::load(args).unwrap();
        let (authenticator, keys) = Authenticator::load(&source.config().auth).unwrap();
        let live = Arc::new(Live::new(source.config(), authenticator));
        let metrics = Arc::new(Metrics::new());
        let reload = Reload::new(source, keys, None, live.clone(), metrics.clone());
        Self {
            folder,
            reload,
            live,
            metrics,
        }
    }

    fn write(&mut self, name: &str, text: &str) {
        write(&self.folder, name, text);
        self.look();
    }

    /// As often as it takes to tell a change.
    fn look(&mut self) {
        self.reload.look();
        self.reload.look();
    }

    fn report(&self) -> Value {
        serde_json::to_value(self.reload.status().report()).unwrap()
    }

    fn is_let_in(&self, payload: &Value) -> bool {
        self.live.now().authenticator.authenticate(payload).is_ok()
    }

    fn counted(&self, line: &str) -> bool {
        let text = self.metrics.render();
        text.lines().any(|found| found == line)
    }
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    let here = folder.path().display().to_string();
    std::fs::write(folder.path().join(name), text.replace("FOLDER", &here)).unwrap();
}

fn token(key: &str) -> Value {
    let claims = json!({ "sub": "u", "exp": 9_999_999_999_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(key.as_bytes());
    let header = jsonwebtoken::Header::default();
    json!({ "token": jsonwebtoken::encode(&header, &claims, &key).unwrap() })
}

#[test]
fn what_can_change_counts_and_what_cannot_is_named() {
    let mut world = World::new("limits: {roomsPerSocket: 5}\n");
    let before = world.report()["config"]["hash"].clone();
    world.write(
        "server.yaml",
        "limits: {roomsPerSocket: 6, inboxEvents: 9}\ndrain: {rate: 7}\nengine: {pingInterval: 9s}\n",
    );
    let now = world.live.now();
    assert_eq!((now.limits.rooms_per_socket, now.drain.rate), (6, 7));
    assert_eq!(now.limits.inbox_events, 128);
    let config = &world.report()["config"];
    assert_ne!(config["hash"], before);
    assert_eq!(
        config["atNextStart"],
        json!(["engine.pingInterval", "limits.inboxEvents"])
    );
    assert_eq!(config["problem"], Value::Null);
    assert!(world.counted(r#"chatcluster_reloads_total{file="config",outcome="loaded"} 1"#));

    world.write("server.yaml", "limits: {roomsPerSocket: 5}\n");
    let config = &world.report()["config"];
    assert_eq!(
        (&config["hash"], &config["atNextStart"]),
        (&before, &json!([]))
    );
}

#[test]
fn a_file_that_is_wrong_leaves_what_counts_and_is_told_once() {
    let mut world = World::new("drain: {rate: 7}\n");
    let before = world.report()["config"]["hash"].clone();
    world.write("server.yaml", "drain: {rate: 8}\nlimit: 1\n");
    for _ in 0..3 {
        world.look();
    }
    assert_eq!(world.live.now().drain.rate, 7);
    let config = &world.report()["config"];
    assert_eq!(config["hash"], before);
    let problem = config["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("limit: found an unknown field"),
        "{problem}"
    );
    assert!(world.counted(r#"chatcluster_reloads_total{file="config",outcome="refused"} 1"#));
    assert!(world.counted(r#"chatcluster_reload_refused{file="config"} 1"#));

    std::fs::remove_file(world.folder.path().join("server.yaml")).unwrap();
    world.look();
    let problem = world.report()["config"]["problem"].to_string();
    assert!(problem.contains("cannot read"), "{problem}");

    world.write("server.yaml", "drain: {rate: 9}\n");
    assert_eq!(world.live.now().drain.rate, 9);
    assert_eq!(world.report()["config"]["problem"], Value::Null);
    assert!(world.counted(r#"chatcluster_reload_refused{file="config"} 0"#));
}

#[test]
fn another_key_counts_and_a_broken_one_keeps_the_old() {
    let mut world = World::new("auth: {type: Jwt, jwt: {keyFile: FOLDER/key}}\n");
    let other = KEY.to_uppercase();
    world.write("key", &other);
    assert!(world.is_let_in(&token(&other)) && !world.is_let_in(&token(KEY)));
    assert!(world.counted(r#"chatcluster_reloads_total{file="keys",outcome="loaded"} 1"#));

    world.write("key", "sesame");
    world.look();
    assert!(world.is_let_in(&token(&other)));
    let files = world.report()["files"].clone();
    let problem = files[0]["problem"].as_str().unwrap();
    assert_eq!(files[0]["name"], "keys");
    assert!(
        problem.ends_with("holds 6 bytes; HS256 needs at least 32"),
        "{problem}"
    );
    assert!(!world.report().to_string().contains("sesame"));
    assert!(world.counted(r#"chatcluster_reloads_total{file="keys",outcome="refused"} 1"#));

    world.write("key", KEY);
    assert!(world.is_let_in(&token(KEY)));
    assert_eq!(world.report()["files"], json!([{ "name": "keys" }]));
}

#[test]
fn rules_of_tokens_change_with_the_file_and_so_does_the_file_of_keys() {
    let mut world = World::new("auth: {type: None}\n");
    assert!(world.is_let_in(&Value::Null));
    world.write(
        "server.yaml",
        "auth: {type: Jwt, jwt: {keyFile: FOLDER/key}}\n",
    );
    assert!(world.is_let_in(&token(KEY)) && !world.is_let_in(&Value::Null));
    world.write(
        "server.yaml",
        "auth: {type: Jwt, jwt: {keyFile: FOLDER/key, issuer: me}}\n",
    );
    assert!(!world.is_let_in(&token(KEY)));
    let other = KEY.to_uppercase();
    write(&world.folder, "other", &other);
    world.write(
        "server.yaml",
        "auth: {type: Jwt, jwt: {keyFile: FOLDER/other}}\n",
    );
    assert!(world.is_let_in(&token(&other)));
    // The one that is not named any more is not looked at.
    world.write("key", "short");
    assert_eq!(world.report()["files"], json!([{ "name": "keys" }]));
    world.write("other", KEY);
    assert!(world.is_let_in(&token(KEY)));
    world.write("server.yaml", "auth: {type: None}\n");
    assert_eq!(world.report()["files"], json!([]));
}

#[test]
fn a_configuration_waits_for_the_keys_that_it_names() {
    let mut world = World::new("drain: {rate: 7}\n");
    let yaml = "drain: {rate: 8}\nauth: {type: Jwt, jwt: {keyFile: FOLDER/later}}\n";
    world.write("server.yaml", yaml);
    world.look();
    assert_eq!(world.live.now().drain.rate, 7);
    assert!(
        world.is_let_in(&Value::Null),
        "half of a file does not count"
    );
    let problem = world.report()["config"]["problem"].to_string();
    assert!(
        problem.contains("auth.jwt.keyFile: cannot read"),
        "{problem}"
    );
    assert!(world.counted(r#"chatcluster_reloads_total{file="config",outcome="refused"} 1"#));
    world.write("later", KEY);
    assert_eq!(world.live.now().drain.rate, 8);
    assert!(world.is_let_in(&token(KEY)) && !world.is_let_in(&Value::Null));
    assert_eq!(world.report()["config"]["problem"], Value::Null);
}
