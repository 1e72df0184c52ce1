//! Cross-origin requests: preflights, answers and errors.

use chatcluster_engineio::{Config, Cors, Origins};

use crate::client::{Reply, request};
use crate::fixture::{Server, quiet};

const OPEN: &str = "/engine.io/?EIO=4&transport=polling";
const ALLOWED: &str = "Origin: https://chat.example\r\n";
const OTHER: &str = "Origin: https://other.example\r\n";

async fn server(cors: Cors) -> Server {
    Server::echo(Config {
        cors: Some(cors),
        ..quiet()
    })
    .await
}

fn listed() -> Cors {
    Cors {
        origins: Origins::List(vec!["https://chat.example".into()]),
        credentials: true,
        max_age: None,
    }
}

fn allow_origin(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_preflight_is_answered_with_204() {
    let server = server(listed()).await;
    let headers = format!(
        "{ALLOWED}Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-token\r\n"
    );
    let reply = request(server.address, "OPTIONS", OPEN, &headers, "").await;
    assert_eq!((reply.status, reply.body.as_str()), (204, ""));
    assert_eq!(allow_origin(&reply), Some("https://chat.example"));
    assert_eq!(
        reply.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET,POST,OPTIONS")
    );
    assert_eq!(
        reply.header("access-control-allow-headers"),
        Some("content-type,x-token")
    );
}

#[tokio::test]
async fn answers_and_errors_carry_the_origin() {
    let server = server(listed()).await;
    for path in [
        OPEN,
        "/engine.io/?EIO=4&transport=polling&sid=x",
        "/engine.io/?EIO=3&transport=polling",
    ] {
        let reply = request(server.address, "GET", path, ALLOWED, "").await;
        assert_eq!(allow_origin(&reply), Some("https://chat.example"), "{path}");
        assert_eq!(reply.header("vary"), Some("Origin"), "{path}");
        let reply = request(server.address, "GET", path, OTHER, "").await;
        assert_eq!(allow_origin(&reply), None, "{path}");
        assert_eq!(reply.header("vary"), Some("Origin"), "{path}");
    }
}

#[tokio::test]
async fn any_origin_and_a_mirrored_one() {
    let any = server(Cors::default()).await;
    assert_eq!(
        allow_origin(&request(any.address, "GET", OPEN, OTHER, "").await),
        Some("*")
    );
    let mirror = server(Cors {
        origins: Origins::Mirror,
        credentials: true,
        max_age: None,
    })
    .await;
    let reply = request(mirror.address, "GET", OPEN, OTHER, "").await;
    assert_eq!(allow_origin(&reply), Some("https://other.example"));
    assert_eq!(
        reply.header("access-control-allow-credentials"),
        Some("true")
    );
}

#[tokio::test]
async fn without_cors_there_are_no_such_headers() {
    let server = Server::echo(quiet()).await;
    let reply = request(server.address, "GET", OPEN, ALLOWED, "").await;
    assert!(
        !reply.head.to_lowercase().contains("access-control"),
        "{}",
        reply.head
    );
}
