use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use chatcluster_chat_api::ServerConfig;
use chatcluster_socketio::SocketIo;
use chatcluster_socketio::adapter::memory::Memory;
use chatcluster_socketio::log::Store;
use chatcluster_socketio::{Config, NodeId};
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::auth::Authenticator;
use crate::chat;
use crate::history::{self, History};
use crate::live::Live;

const TOKEN: &str = "a-token-of-more-than-thirty-two-characters";
const NS: &str = "/api/v1/namespaces/%2F";

/// The API over a chat of one node.
struct World {
    router: Router,
    entrance: Entrance,
    metrics: Arc<Metrics>,
    history: Arc<History>,
    _folder: tempfile::TempDir,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Got {
    fn code(&self) -> (u16, u64) {
        (self.status, self.body["error"]["code"].as_u64().unwrap())
    }
}

const BOUNDS: Bounds = Bounds {
    body_bytes: 10_000,
    under_way: 8,
    deadline: DEADLINE,
};

fn world(is_open: bool, bounds: Bounds) -> World {
    let folder = tempfile::tempdir().unwrap();
    let history = Arc::new(History::open(&history::Options::new(folder.path())).unwrap());
    let metrics = Arc::new(Metrics::new());
    let mut config = ServerConfig::default().validate().unwrap();
    config.limits.message_characters = 100;
    let (authenticator, _) = Authenticator::load(&config.auth).unwrap();
    let parts = chat::Parts {
        history: history.clone(),
        live: Arc::new(Live::new(&config, authenticator)),
        metrics: metrics.clone(),
        membership: None,
    };
    let chat = Chat::new("0".to_owned(), parts);
    let entrance = Entrance::default();
    if is_open {
        let store: Arc<dyn Store> = history.clone();
        let cluster = Memory::new([("/".to_owned(), store)].into());
        let io = SocketIo::builder()
            .config(Config::default())
            .cluster(cluster.node(NodeId::new("0")))
            .with_state(chat.clone())
            .build()
            .unwrap();
        chat.install(&io);
        entrance.open(io);
    }
    let file = folder.path().join("tokens");
    std::fs::write(&file, TOKEN).unwrap();
    let (tokens, _) = SharedTokens::load(&file).unwrap();
    let shared = (tokens, metrics.clone());
    World {
        router: router(Door::new(chat, entrance.clone(), shared, bounds)),
        entrance,
        metrics,
        history,
        _folder: folder,
    }
}

fn open() -> World {
    world(true, BOUNDS)
}

impl World {
    async fn send(&self, request: Request<Body>) -> Got {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).expect("a JSON body");
        Got {
            status,
            headers,
            body,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Got {
        self.send(request(method, path, Body::empty())).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Got {
        let mut request = request(
            Method::POST,
            &format!("{NS}{path}"),
            Body::from(body.to_string()),
        );
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        self.send(request).await
    }
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json; charset=utf-8")
        .body(body)
        .unwrap()
}

fn hello() -> Value {
    json!({"content": "hello"})
}

#[tokio::test]
async fn only_who_has_a_token_is_let_in() {
    let world = open();
    for (authorization, code) in [
        (None, 300),
        (Some("Bearer ".to_owned()), 300),
        (Some(format!("Basic {TOKEN}")), 300),
        (
            Some("Bearer another-token-of-more-than-32-characters".to_owned()),
            301,
        ),
        (Some(format!("Bearer {TOKEN}x")), 301),
    ] {
        for path in ["/lobby/sockets", "/nowhere"] {
            let mut request = request(Method::GET, &format!("{NS}{path}"), Body::empty());
            request.headers_mut().remove("authorization");
            if let Some(given) = &authorization {
                let given = given.parse().unwrap();
                request.headers_mut().insert("authorization", given);
            }
            let got = world.send(request).await;
            assert_eq!(got.code(), (401, code), "{authorization:?}");
            assert_eq!(got.headers["www-authenticate"], "Bearer");
            assert!(!got.body.to_string().contains(TOKEN));
        }
    }
    let got = world.ask(Method::GET, &format!("{NS}/lobby/sockets")).await;
    assert_eq!(
        (got.status, got.body),
        (200, json!({"sockets": [], "total": 0, "missing": []}))
    );
}

#[tokio::test]
async fn before_clients_are_let_in_backends_are_told_to_wait() {
    let world = world(false, BOUNDS);
    for (method, path) in [
        (Method::GET, "/lobby/sockets"),
        (Method::DELETE, "/users/ann/sockets"),
    ] {
        let got = world.ask(method, &format!("{NS}{path}")).await;
        assert_eq!(got.code(), (503, 104));
        assert_eq!(got.headers["retry-after"], "1");
        assert_eq!(got.body["error"]["retry"], true);
    }
    assert_eq!(
        world.post("/lobby/messages", "k", &hello()).await.status,
        503
    );
}

#[tokio::test]
async fn once_the_drain_has_begun_requests_are_served_and_connections_end() {
    let world = open();
    let path = format!("{NS}/lobby/sockets");
    let before = world.ask(Method::GET, &path).await;
    assert_eq!(before.headers.get("connection"), None);
    world.entrance.shut();
    let after = world.ask(Method::GET, &path).await;
    assert_eq!(
        (after.status, &after.headers["connection"]),
        (200, &"close".parse().unwrap())
    );
}

#[tokio::test]
async fn a_repeated_message_is_stored_once_and_answered_with_its_first_position() {
    let world = open();
    let path = "/rooms/a%2Fb%20%C3%BC/messages";
    let first = world.post(path, "k1", &hello()).await;
    assert_eq!(
        (first.status, &first.body["duplicate"]),
        (201, &json!(false))
    );
    let again = world.post(path, "k1", &hello()).await;
    assert_eq!(
        (again.status, again.body),
        (
            200,
            json!({"serverOffset": first.body["serverOffset"], "duplicate": true})
        )
    );
    let others = [
        (path, "k2", hello()),
        (path, "k1", json!({"content": "other"})),
        (path, "k1", json!({"content": "hello", "author": "bot"})),
        ("/rooms/other/messages", "k1", hello()),
        ("/lobby/messages", "k1", hello()),
    ];
    for (path, key, body) in others {
        assert_eq!(
            world.post(path, key, &body).await.status,
            201,
            "{path} {key} {body}"
        );
    }
    let stored = world.history.newest("a/b ü", 10).await.unwrap();
    let stored: Vec<_> = stored.iter().map(|m| (&*m.author, &*m.content)).collect();
    assert_eq!(
        stored,
        [
            ("server", "hello"),
            ("server", "hello"),
            ("server", "other"),
            ("bot", "hello")
        ]
    );
    assert_eq!(world.history.newest("", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = open();
    let message = |content: &str, author: &str| json!({"content": content, "author": author});
    let event = |name: &str| json!({ "event": name });
    let long = "x".repeat(129);
    let none = Value::Null;
    for (path, body, code, field) in [
        ("/lobby/messages", message("", "a"), 201, json!("content")),
        (
            "/lobby/messages",
            message(&long, "a"),
            201,
            json!("content"),
        ),
        (
            "/lobby/messages",
            message("x", "a\nb"),
            303,
            json!("author"),
        ),
        ("/lobby/messages", json!({"content": 5}), 209, none.clone()),
        (
            "/lobby/messages",
            json!({"content": "x", "extra": 1}),
            209,
            none.clone(),
        ),
        ("/rooms/a%0Ab/messages", hello(), 203, json!("room")),
        ("/rooms/%FF/messages", hello(), 209, none.clone()),
        ("/rooms/r/emit", event("disconnect"), 208, json!("event")),
        ("/rooms/r/emit", event("chat message"), 208, json!("event")),
        ("/rooms/r/emit", event(""), 208, json!("event")),
        ("/rooms/r/emit", event(&long), 208, json!("event")),
        (
            "/rooms/r/emit",
            json!({"event": "e", "args": {}}),
            209,
            none,
        ),
    ] {
        let got = world.post(path, "k", &body).await;
        assert_eq!(got.code(), (400, code), "{path} {body}");
        assert_eq!(got.body["error"]["field"], field, "{path} {body}");
        assert_eq!(got.body["error"]["retry"], false);
    }
    assert_eq!(world.history.newest("", 1).await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_lists_of_rooms_are_rooms_and_not_too_many() {
    let world = open();
    let many = vec!["a"; 65];
    for (path, lists, code, field) in [
        (
            "/lobby/emit",
            json!({"except": ["a", "b\n"]}),
            203,
            json!("except"),
        ),
        (
            "/users/ann/emit",
            json!({"except": many}),
            209,
            json!("except"),
        ),
        ("/rooms/r/emit", json!({"rooms": [""]}), 203, json!("rooms")),
        ("/rooms/r/emit", json!({"rooms": many}), 209, json!("rooms")),
        ("/lobby/emit", json!({"rooms": ["a"]}), 209, Value::Null),
    ] {
        let mut body = lists;
        body["event"] = json!("e");
        let got = world.post(path, "", &body).await;
        assert_eq!(got.code(), (400, code), "{path} {body}");
        assert_eq!(got.body["error"]["field"], field, "{path} {body}");
    }
}

#[tokio::test]
async fn bodies_have_a_size_and_a_type_and_sockets_an_id() {
    let world = open();
    let too_large = json!({"content": "x".repeat(10_000)});
    assert_eq!(
        world.post("/lobby/messages", "k", &too_large).await.code(),
        (413, 211)
    );
    let mut untyped = request(Method::POST, &format!("{NS}/lobby/emit"), Body::from("{}"));
    untyped.headers_mut().remove("content-type");
    assert_eq!(world.send(untyped).await.code(), (415, 209));
    let got = world
        .ask(Method::DELETE, &format!("{NS}/sockets/nobody"))
        .await;
    assert_eq!(got.code(), (400, 209));
    assert_eq!(world.history.newest("", 1).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_message_needs_one_key_of_at_most_128_characters() {
    let world = open();
    let path = format!("{NS}/lobby/messages");
    let keyless = request(Method::POST, &path, Body::from(hello().to_string()));
    assert_eq!(world.send(keyless).await.code(), (400, 207));
    let long = "k".repeat(129);
    for (key, code) in [("", 207), (&*long, 207), ("a b", 209)] {
        let got = world.post("/lobby/messages", key, &hello()).await;
        assert_eq!(got.code(), (400, code), "{key:?}");
        assert_eq!(got.body["error"]["field"], "Idempotency-Key");
    }
    assert_eq!(
        world
            .post("/lobby/messages", &long[1..], &hello())
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn other_namespaces_paths_and_methods_are_not_there() {
    let world = open();
    let got = world
        .ask(Method::GET, "/api/v1/namespaces/%2Fadmin/lobby/sockets")
        .await;
    assert_eq!(
        (got.code(), &got.body["error"]["field"]),
        ((404, 210), &json!("ns"))
    );
    // What clients make of rooms and users that are called `..` and `.`.
    for path in [
        "/messages",
        "/emit",
        "/sockets",
        "/rooms/messages",
        "/users/emit",
        "/users/sockets",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let got = world.ask(method.clone(), &format!("{NS}{path}")).await;
            assert_eq!(got.code(), (404, 210), "{method} {path}");
        }
    }
    let got = world
        .ask(Method::PUT, &format!("{NS}/rooms/r/sockets"))
        .await;
    assert_eq!(got.code(), (405, 210));
    assert_eq!(got.headers["allow"], "GET,HEAD,DELETE");
    // Everybody at once is not sent away by mistake.
    assert_eq!(
        world
            .ask(Method::DELETE, &format!("{NS}/lobby/sockets"))
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn a_logged_event_has_a_position_and_a_volatile_one_has_none() {
    let world = open();
    let event = json!({"event": "price", "args": [1, {"a": null}]});
    let mut last = 0;
    for path in ["/lobby/emit", "/rooms/r/emit", "/users/ann/emit"] {
        let got = world.post(path, "", &event).await;
        let position = got.body["serverOffset"].as_u64().unwrap();
        assert!(got.status == 200 && position > last);
        last = position;
    }
    let event = json!({"event": "price", "volatile": true});
    let got = world.post("/lobby/emit", "", &event).await;
    assert_eq!((got.status, got.body), (200, json!({"serverOffset": null})));
}

#[tokio::test]
async fn one_request_more_than_there_is_room_for_is_refused() {
    let world = world(
        true,
        Bounds {
            under_way: 0,
            ..BOUNDS
        },
    );
    let got = world.ask(Method::GET, &format!("{NS}/lobby/sockets")).await;
    assert_eq!(got.code(), (503, 106));
    assert_eq!(got.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_body_that_does_not_come_meets_the_deadline_and_gives_its_room_back() {
    let bounds = Bounds {
        under_way: 1,
        deadline: Duration::from_millis(20),
        ..BOUNDS
    };
    let world = world(true, bounds);
    let never =
        futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, std::io::Error>>();
    let mut slow = request(
        Method::POST,
        &format!("{NS}/lobby/messages"),
        Body::new(StreamBody::new(never)),
    );
    slow.headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(world.send(slow).await.code(), (503, 107));
    assert_eq!(
        world
            .ask(Method::GET, &format!("{NS}/lobby/sockets"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn every_operation_of_the_description_is_served_and_counted_by_its_route() {
    let world = open();
    let mut plain = request(Method::GET, description::PATH, Body::empty());
    plain.headers_mut().remove("authorization");
    let description = world.send(plain).await;
    assert_eq!(description.headers["content-type"], "application/json");
    let content = "/components/schemas/NewMessage/properties/content/maxLength";
    assert_eq!(description.body.pointer(content), Some(&json!(100)));
    let (mut operations, mut names) = (0, std::collections::BTreeSet::new());
    for (path, methods) in description.body["paths"].as_object().unwrap() {
        let asked = path
            .replace("{ns}", "%2F")
            .replace("{room}", "r")
            .replace("{user}", "u");
        let asked = asked.replace("{socket}", "AAAAAAAAAAAAAAAAAAAA");
        for (method, operation) in methods.as_object().unwrap() {
            names.insert(operation["operationId"].as_str().unwrap());
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let status = world.ask(method.clone(), &asked).await.status;
            assert!([200, 400].contains(&status), "{method} {asked}: {status}");
            let counted = format!(
                "chatcluster_api_requests_total{{method=\"{method}\",route=\"{path}\",status=\"{status}\"}} 1"
            );
            let metrics = world.metrics.render();
            assert!(metrics.contains(&counted), "{counted} not in {metrics}");
            operations += 1;
        }
    }
    assert_eq!(operations, 11);
    assert_eq!(names.len(), 11, "{names:?}");
    world.ask(Method::GET, "/secret-path").await;
    let metrics = world.metrics.render();
    assert!(metrics.contains("{method=\"GET\",route=\"none\",status=\"404\"} 1"));
    assert!(!metrics.contains("secret-path"));
}
