//! The page and the client bundle, as the build put them into the program (`build.rs`).

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::get,
};
use chatcluster_chat_api::Cors;

use super::cors;

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The page's own script, style, images and connections, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// A file of the web build.
struct Asset {
    /// Where it is served.
    path: &'static str,
    /// Its bytes.
    body: &'static [u8],
    /// Its bytes compressed, where that is worth it.
    gzip: Option<&'static [u8]>,
    /// Changes when the bytes do. The client bundle's is its version, as in Socket.IO.
    etag: &'static str,
}

pub(super) fn router(cors: Option<Cors>) -> Router {
    let cors = cors.map(Arc::new);
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let cors = cors.clone().filter(|_| asset.is_client_bundle());
        let serve = async move |request: HeaderMap| asset.answer(&request, cors.as_deref());
        router.route(asset.path, get(serve))
    })
}

impl Asset {
    fn is_client_bundle(&self) -> bool {
        self.path.starts_with("/socket.io/")
    }

    fn content_type(&self) -> &'static str {
        match self.path.rsplit('.').next() {
            _ if self.path == "/" => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("map" | "json") => "application/json; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("ico") => "image/x-icon",
            Some("woff2") => "font/woff2",
            _ => "application/octet-stream",
        }
    }

    fn cache_control(&self) -> &'static str {
        if self.path.starts_with("/assets/") {
            // The name carries a hash of the content.
            "public, max-age=31536000, immutable"
        } else if self.is_client_bundle() {
            "public, max-age=0"
        } else {
            "no-cache"
        }
    }

    fn answer(&self, request: &HeaderMap, cors: Option<&Cors>) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::ETAG, self.etag);
        set(header::CACHE_CONTROL, self.cache_control());
        set(header::VARY, "Accept-Encoding");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if self.path == "/" {
            set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
            set(header::REFERRER_POLICY, "no-referrer");
        }
        if let Some(cors) = cors {
            cors::allow(cors, request, headers);
        }
        if has_current(request, self.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type()),
        );
        let body = match self.gzip {
            Some(gzip) if accepts_gzip(request) => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzip
            }
            _ => self.body,
        };
        *response.body_mut() = Body::from(Bytes::from_static(body));
        response
    }
}

/// Whether `If-None-Match` names this version.
fn has_current(request: &HeaderMap, etag: &str) -> bool {
    values(request, header::IF_NONE_MATCH)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
}

fn accepts_gzip(request: &HeaderMap) -> bool {
    values(request, header::ACCEPT_ENCODING).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let is_refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|weight| weight.parse().is_ok_and(|q: f32| q <= 0.0))
        });
        is_gzip && !is_refused
    })
}

/// The comma-separated values of a header.
fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests;
