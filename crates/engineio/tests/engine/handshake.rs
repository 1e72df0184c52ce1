//! Opening a session, and every way in which that is refused.

use chatcluster_engineio::{Config, Refusal, SidTag, Transports};
use http::StatusCode;

use crate::client::{Poller, Reply, UPGRADE_HEADERS, open_websocket, request, sid_of};
use crate::fixture::{Server, quiet};

const OPEN: &str = "/engine.io/?EIO=4&transport=polling";

async fn get(server: &Server, path: &str) -> Reply {
    request(server.address, "GET", path, "", "").await
}

/// The same request as a WebSocket client would send it.
async fn get_websocket(server: &Server, path: &str) -> Reply {
    let headers = UPGRADE_HEADERS;
    let stream = crate::client::send_upgrade(server.address, path, headers).await;
    crate::client::read_reply(stream).await
}

#[tokio::test]
async fn polling_handshake_has_these_keys_in_this_order() {
    let server = Server::echo(quiet()).await;
    let reply = get(&server, OPEN).await;
    let sid = sid_of(&reply.body);
    let expected = format!(
        r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
    );
    assert_eq!(reply.body, expected);
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_eq!(reply.header("set-cookie"), None);
}

#[tokio::test]
async fn websocket_handshake_offers_no_upgrades() {
    let server = Server::echo(quiet()).await;
    let mut ws = crate::client::connect(server.address, crate::client::WEBSOCKET).await;
    let packet = crate::client::text(&mut ws).await;
    assert!(
        packet.contains(r#""upgrades":[],"pingInterval":25000"#),
        "{packet}"
    );
}

#[tokio::test]
async fn upgrades_are_not_offered_when_they_are_not_allowed() {
    let polling_only = Transports {
        polling: true,
        websocket: false,
    };
    for config in [
        Config {
            allow_upgrades: false,
            ..quiet()
        },
        Config {
            transports: polling_only,
            ..quiet()
        },
    ] {
        let server = Server::echo(config).await;
        let reply = get(&server, OPEN).await;
        assert!(reply.body.contains(r#""upgrades":[]"#), "{}", reply.body);
    }
}

#[tokio::test]
async fn the_path_matches_with_and_without_its_slash() {
    let server = Server::echo(quiet()).await;
    assert_eq!(
        get(&server, "/engine.io?EIO=4&transport=polling")
            .await
            .status,
        200
    );
    assert_eq!(
        get(&server, "/other.io/?EIO=4&transport=polling")
            .await
            .status,
        404
    );
    assert_eq!(
        get(&server, "/engine.io/x?EIO=4&transport=polling")
            .await
            .status,
        404
    );
}

const UNKNOWN_SID: &str = "/engine.io/?EIO=4&transport=polling&sid=aaaaaaaaaaaaaaaaaaaa";

const WRONG: [(&str, &str, usize, &str); 13] = [
    ("GET", "/engine.io/", 0, "Transport unknown"),
    ("GET", "/engine.io/?EIO=4", 0, "Transport unknown"),
    (
        "GET",
        "/engine.io/?EIO=4&transport=abc",
        0,
        "Transport unknown",
    ),
    ("GET", UNKNOWN_SID, 1, "Session ID unknown"),
    ("POST", UNKNOWN_SID, 1, "Session ID unknown"),
    (
        "GET",
        "/engine.io/?EIO=4&transport=polling&sid=x",
        1,
        "Session ID unknown",
    ),
    ("POST", OPEN, 2, "Bad handshake method"),
    ("PUT", OPEN, 2, "Bad handshake method"),
    ("OPTIONS", OPEN, 2, "Bad handshake method"),
    (
        "GET",
        "/engine.io/?EIO=4&transport=websocket",
        3,
        "Bad request",
    ),
    (
        "GET",
        "/engine.io/?transport=polling",
        5,
        "Unsupported protocol version",
    ),
    (
        "GET",
        "/engine.io/?EIO=3&transport=polling",
        5,
        "Unsupported protocol version",
    ),
    (
        "GET",
        "/engine.io/?EIO=abc&transport=polling",
        5,
        "Unsupported protocol version",
    ),
];

#[tokio::test]
async fn each_wrong_request_has_its_code() {
    let server = Server::echo(quiet()).await;
    for (method, path, code, message) in WRONG {
        let reply = request(server.address, method, path, "", "").await;
        assert_eq!(reply.status, 400, "{method} {path}");
        let expected = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        assert_eq!(reply.body, expected, "{method} {path}");
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{method} {path}"
        );
        assert!(server.engine.counters().errors[code].get() > 0);
    }
    assert_eq!(server.engine.session_count(), 0);
}

#[tokio::test]
async fn a_wrong_websocket_request_gets_the_bare_message() {
    let server = Server::echo(quiet()).await;
    let rows = [
        ("/engine.io/?EIO=4&transport=abc", "Transport unknown"),
        (
            "/engine.io/?EIO=4&transport=websocket&sid=aaaaaaaaaaaaaaaaaaaa",
            "Session ID unknown",
        ),
        ("/engine.io/?EIO=4&transport=polling", "Bad request"),
        (
            "/engine.io/?transport=websocket",
            "Unsupported protocol version",
        ),
        (
            "/engine.io/?EIO=3&transport=websocket",
            "Unsupported protocol version",
        ),
    ];
    for (path, message) in rows {
        let reply = get_websocket(&server, path).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (400, message),
            "{path}"
        );
        assert_eq!(reply.header("content-type"), Some("text/html"), "{path}");
    }
}

#[tokio::test]
async fn a_broken_websocket_handshake_is_a_bad_request() {
    let server = Server::echo(quiet()).await;
    let headers = UPGRADE_HEADERS.replace("Version: 13", "Version: 12");
    let stream =
        crate::client::send_upgrade(server.address, crate::client::WEBSOCKET, &headers).await;
    let reply = crate::client::read_reply(stream).await;
    assert_eq!((reply.status, reply.body.as_str()), (400, "Bad request"));
}

#[tokio::test]
async fn a_transport_that_is_not_allowed_is_unknown() {
    let polling = Server::echo(Config {
        transports: Transports {
            polling: true,
            websocket: false,
        },
        ..quiet()
    })
    .await;
    let reply = get_websocket(&polling, crate::client::WEBSOCKET).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (400, "Transport unknown")
    );
    let websocket = Server::echo(Config {
        transports: Transports {
            polling: false,
            websocket: true,
        },
        ..quiet()
    })
    .await;
    assert_eq!(
        get(&websocket, OPEN).await.body,
        r#"{"code":0,"message":"Transport unknown"}"#
    );
}

#[tokio::test]
async fn a_forbidden_handshake_gets_403_with_the_message() {
    let server = Server::echo(quiet()).await;
    *server.upper.refusal.lock() = Some(Refusal::forbidden("not you"));
    let reply = get(&server, OPEN).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (403, r#"{"code":4,"message":"not you"}"#)
    );
    let reply = get_websocket(&server, crate::client::WEBSOCKET).await;
    assert_eq!((reply.status, reply.body.as_str()), (400, "not you"));
    assert_eq!(server.engine.counters().refused.get(), 2);
    assert_eq!(server.engine.session_count(), 0);
}

#[tokio::test]
async fn who_may_open_is_asked_once_per_session() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    poller.post("4a").await;
    poller.get().await;
    let mut ws = poller.websocket().await;
    crate::client::send(&mut ws, "2probe").await;
    assert_eq!(crate::client::text(&mut ws).await, "3probe");
    assert_eq!(*server.upper.admitted.lock(), [OPEN]);
}

#[tokio::test]
async fn while_draining_handshakes_are_refused_and_sessions_go_on() {
    let server = Server::echo(quiet()).await;
    let poller = Poller::open(server.address).await;
    let refusal = Refusal::with_status(StatusCode::SERVICE_UNAVAILABLE, "draining");
    server
        .engine
        .refuse_handshakes(refusal.retry_after(std::time::Duration::from_millis(1500)));

    let reply = get(&server, OPEN).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (503, r#"{"code":4,"message":"draining"}"#)
    );
    assert_eq!(reply.header("retry-after"), Some("2"));
    let reply = get_websocket(&server, crate::client::WEBSOCKET).await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "draining"));

    assert_eq!(poller.post("4still here").await.status, 200);
    assert_eq!(poller.get().await.body, "4still here");
}

#[tokio::test]
async fn the_cookie_is_set_by_the_polling_handshake_only() {
    let server = Server::echo(Config {
        cookie: Some("io".into()),
        ..quiet()
    })
    .await;
    let reply = get(&server, OPEN).await;
    let sid = sid_of(&reply.body);
    assert_eq!(
        reply.header("set-cookie"),
        Some(format!("io={sid}; Path=/; HttpOnly; SameSite=Lax").as_str())
    );
    let poll = format!("{OPEN}&sid={sid}");
    request(server.address, "POST", &poll, "", "4x").await;
    assert_eq!(get(&server, &poll).await.header("set-cookie"), None);

    let mut stream =
        crate::client::send_upgrade(server.address, crate::client::WEBSOCKET, UPGRADE_HEADERS)
            .await;
    let mut head = [0; 300];
    let length = tokio::io::AsyncReadExt::read(&mut stream, &mut head)
        .await
        .unwrap();
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && !head.contains("set-cookie"),
        "{head}"
    );
}

#[tokio::test]
async fn the_request_can_be_read_from_the_session() {
    let server = Server::echo(quiet()).await;
    let path = "/engine.io/?EIO=4&transport=polling&token=a%20b";
    let reply = request(server.address, "GET", path, "X-Test: yes\r\n", "").await;
    let session = server.session(&sid_of(&reply.body));
    let handshake = session.handshake();
    assert_eq!(handshake.uri(), path);
    assert_eq!(handshake.header("x-test"), Some("yes"));
    assert_eq!(handshake.query("token").as_deref(), Some("a b"));
    assert!(handshake.remote_addr().ip().is_loopback());
    assert!(!handshake.is_secure());
}

#[tokio::test]
async fn open_sessions_are_counted_by_transport() {
    let server = Server::echo(quiet()).await;
    let _poller = Poller::open(server.address).await;
    let (_ws, _) = open_websocket(server.address).await;
    let counters = server.engine.counters();
    assert_eq!(
        (
            counters.open_polling.get(),
            counters.open_websocket.get(),
            counters.handshakes.get()
        ),
        (1, 1, 2)
    );
    assert_eq!(server.engine.session_count(), 2);
}

#[tokio::test]
async fn an_engine_with_a_tag_knows_its_own_ids_only() {
    let tag = SidTag::random();
    let server = Server::echo(Config {
        sid_tag: Some(tag),
        ..quiet()
    })
    .await;
    let sid = sid_of(&get(&server, OPEN).await.body);
    assert!(sid.starts_with(&tag.to_string()), "{sid}");
    assert_eq!(sid.len(), 28);
    let post = async |sid: &str| {
        let path = format!("{OPEN}&sid={sid}");
        request(server.address, "POST", &path, "", "4x").await
    };
    assert_eq!(post(&sid).await.body, "ok");
    let (_, untagged) = sid.split_at(8);
    for unknown in [untagged, &format!("{}{untagged}", SidTag::random())] {
        let reply = post(unknown).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.body, r#"{"code":1,"message":"Session ID unknown"}"#);
    }
}
