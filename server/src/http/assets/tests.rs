use axum::http::Request;
use chatcluster_chat_api::Origins;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

async fn ask(cors: Option<Cors>, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, Bytes) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router(cors)
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    (
        parts.status.as_u16(),
        parts.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

/// A bundle with fixed bytes, so that these tests do not need the web build.
const BUNDLE: Asset = Asset {
    path: "/socket.io/socket.io.min.js",
    body: b"plain",
    gzip: Some(b"squeezed"),
    etag: "\"4.8.4\"",
};

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

async fn body(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn the_page_is_at_the_root_under_a_strict_policy() {
    let (status, headers, body) = ask(None, "/", &[]).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("script-src 'self';")
    );
    assert!(body.starts_with(b"<!doctype html>"));
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again() {
    let (_, headers, _) = ask(None, "/", &[]).await;
    let etag = headers["etag"].to_str().unwrap();
    for known in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
        let (status, headers, body) = ask(None, "/", &[("if-none-match", known)]).await;
        assert_eq!((status, body.len()), (304, 0), "{known}");
        assert_eq!(headers["etag"], etag);
    }
    assert_eq!(
        ask(None, "/", &[("if-none-match", "\"other\"")]).await.0,
        200
    );
}

#[tokio::test]
async fn the_bundle_is_served_as_socket_io_serves_it() {
    let response = BUNDLE.answer(&HeaderMap::new(), None);
    assert_eq!(response.headers()["etag"], "\"4.8.4\"");
    assert_eq!(response.headers()["cache-control"], "public, max-age=0");
    assert_eq!(
        response.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    assert!(!response.headers().contains_key("content-encoding"));
    assert_eq!(body(response).await, "plain");
    let response = BUNDLE.answer(&headers(&[("if-none-match", "W/\"4.8.4\"")]), None);
    assert_eq!(response.status(), 304);
}

#[tokio::test]
async fn compression_is_sent_to_those_who_take_it() {
    for (accepted, is_gzip) in [
        ("gzip, deflate, br", true),
        ("GZIP;q=0.5", true),
        ("gzip;q=0", false),
        ("br", false),
        ("", false),
    ] {
        let request =
            HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
        let response = BUNDLE.answer(&request, None);
        assert_eq!(
            response.headers().contains_key("content-encoding"),
            is_gzip,
            "{accepted}"
        );
        assert_eq!(response.headers()["vary"], "Accept-Encoding");
        assert_eq!(
            body(response).await,
            if is_gzip { "squeezed" } else { "plain" }
        );
    }
}

#[test]
fn other_origins_are_allowed_as_configured() {
    let list = Cors {
        origins: Origins::List(vec!["https://a.example".to_owned()]),
        credentials: true,
    };
    let answered = BUNDLE.answer(&headers(&[("origin", "https://a.example")]), Some(&list));
    assert_eq!(
        answered.headers()["access-control-allow-origin"],
        "https://a.example"
    );
    assert_eq!(
        answered.headers()["access-control-allow-credentials"],
        "true"
    );
    let vary: Vec<_> = answered.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Origin"]);
    let answered = BUNDLE.answer(&headers(&[("origin", "https://b.example")]), Some(&list));
    assert!(
        !answered
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let any = Cors {
        origins: Origins::Any,
        credentials: false,
    };
    let answered = BUNDLE.answer(&headers(&[("origin", "https://b.example")]), Some(&any));
    assert_eq!(answered.headers()["access-control-allow-origin"], "*");
    let answered = BUNDLE.answer(&headers(&[("origin", "https://b.example")]), None);
    assert!(
        !answered
            .headers()
            .contains_key("access-control-allow-origin")
    );
}

#[tokio::test]
async fn every_asset_of_the_build_is_served() {
    for asset in &ASSETS {
        let (status, _, plain) = ask(None, asset.path, &[]).await;
        assert_eq!((status, &plain[..]), (200, asset.body), "{}", asset.path);
        if let Some(version) = CLIENT_VERSION.filter(|_| asset.is_client_bundle()) {
            assert_eq!(asset.etag, format!("\"{version}\""));
        }
    }
    let names = ["js", "min.js", "esm.min.js", "msgpack.min.js"];
    let is_built = CLIENT_VERSION.is_some();
    for name in names
        .iter()
        .flat_map(|name| [name.to_string(), format!("{name}.map")])
    {
        let is_served = ask(None, &format!("/socket.io/socket.io.{name}"), &[])
            .await
            .0
            == 200;
        assert_eq!(is_served, is_built, "{name}");
    }
}
