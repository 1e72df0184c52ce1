//! From an HTTP request to what it wants: checks in the order of the reference implementation, then the transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SET_COOKIE, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Shared;
use crate::handshake::Handshake;
use crate::payload::Payload;
use crate::rejection::Rejection;
use crate::session::{Session, TransportKind};
use crate::sid::Sid;
use crate::sid_tag::SidTag;
use crate::websocket::{self, WebSocketTask};
use crate::{polling, query, serve};

/// How long the answer that switches protocols may take to be sent.
const SWITCH_DEADLINE: Duration = Duration::from_secs(10);

type Answer = Result<Response<Full<Bytes>>, Rejection>;

/// Answers one request.
pub(super) async fn answer<B: Body>(
    shared: &Arc<Shared>,
    request: Request<B>,
    remote: SocketAddr,
) -> Response<Full<Bytes>> {
    let is_websocket = websocket::is_upgrade(request.headers());
    let cors = shared.config.cors.as_ref();
    let origin = cors.and_then(|_| request.headers().get(ORIGIN).cloned());
    let answer = if let (Some(cors), &Method::OPTIONS) = (cors, request.method()) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        cors.decorate_preflight(request.headers(), response.headers_mut());
        Ok(response)
    } else {
        route(shared, request, remote, is_websocket).await
    };
    let mut response = answer.unwrap_or_else(|rejection| {
        if let Some(code) = rejection.code() {
            shared.counters.errors[code].increment();
        }
        rejection.into_response(is_websocket)
    });
    if let Some(cors) = cors
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        cors.decorate(origin.as_ref(), response.headers_mut());
    }
    response
}

async fn route<B: Body>(
    shared: &Arc<Shared>,
    request: Request<B>,
    remote: SocketAddr,
    is_websocket: bool,
) -> Answer {
    if !is_own_path(request.uri().path(), &shared.config.path) {
        return Err(Rejection::NotFound);
    }
    let query = request.uri().query().unwrap_or_default();
    let transport = transport(shared, query)?;
    let sid = query::first(query, "sid").map(|sid| SidTag::read(shared.config.sid_tag, &sid));
    if matches!(sid, Some(Some(sid)) if shared.registry.get(&sid).is_some()) {
        // A session keeps the protocol version that it began with.
        let version = query::first(query, "EIO");
        if version.is_some_and(|version| version != "4") {
            return Err(Rejection::BadRequest);
        }
    }
    match (sid, is_websocket) {
        (Some(sid), true) => upgrade(shared, request, sid, transport),
        (Some(sid), false) => poll(shared, request, sid, transport).await,
        (None, _) => open(shared, request, remote, transport, is_websocket),
    }
}

fn is_own_path(path: &str, own: &str) -> bool {
    path.trim_end_matches('/') == own.trim_end_matches('/')
}

fn transport(shared: &Shared, query: &str) -> Result<TransportKind, Rejection> {
    let allowed = shared.config.transports;
    match query::first(query, "transport").as_deref() {
        Some("polling") if allowed.polling => Ok(TransportKind::Polling),
        Some("websocket") if allowed.websocket => Ok(TransportKind::WebSocket),
        _ => Err(Rejection::UnknownTransport),
    }
}

/// A long-polling request of a session.
async fn poll<B: Body>(
    shared: &Arc<Shared>,
    request: Request<B>,
    sid: Option<Sid>,
    transport: TransportKind,
) -> Answer {
    let sid = sid.ok_or(Rejection::UnknownSid)?;
    let Some(session) = shared.registry.get(&sid) else {
        let is_get = request.method() == Method::GET;
        let farewell = if is_get {
            polling::get_farewell(&sid, shared)
        } else {
            None
        };
        return farewell.ok_or(Rejection::UnknownSid);
    };
    if transport != TransportKind::Polling {
        return Err(Rejection::BadRequest);
    }
    match *request.method() {
        Method::GET => {
            // A poll waits for long; the request is not needed any more.
            drop(request);
            polling::get(&session).await
        }
        Method::POST => polling::post(request, &session).await,
        _ => Err(Rejection::BadRequest),
    }
}

/// A handshake.
fn open<B>(
    shared: &Arc<Shared>,
    mut request: Request<B>,
    remote: SocketAddr,
    transport: TransportKind,
    is_websocket: bool,
) -> Answer {
    if request.method() != Method::GET {
        return Err(Rejection::BadMethod);
    }
    if query::first(request.uri().query().unwrap_or_default(), "EIO").as_deref() != Some("4") {
        return Err(Rejection::UnsupportedVersion);
    }
    if is_websocket != (transport == TransportKind::WebSocket) {
        return Err(Rejection::BadRequest);
    }
    let switching = if is_websocket {
        Some(switch(&mut request)?)
    } else {
        None
    };
    let handshake = Handshake::new(request.uri(), request.headers(), remote);
    drop(request);
    let admitted = shared
        .refusal()
        .map_or_else(|| shared.accept.admit(&handshake), Err);
    admitted.map_err(|refusal| {
        shared.counters.refused.increment();
        Rejection::Refused(refusal)
    })?;
    match switching {
        None => Ok(open_polling(shared, handshake)),
        Some((on_upgrade, response)) => {
            let shared = Arc::clone(shared);
            let runtime = shared.runtime.clone();
            runtime.spawn(open_websocket(shared, on_upgrade, handshake));
            Ok(response)
        }
    }
}

/// The answer is the handshake packet alone; what was sent meanwhile waits for the first GET.
fn open_polling(shared: &Arc<Shared>, handshake: Handshake) -> Response<Full<Bytes>> {
    let session = shared.open(handshake, TransportKind::Polling);
    let mut response =
        polling::packets_response(Payload::of(&shared.open_packet(&session)), shared);
    if let Some(name) = &shared.config.cookie
        && let Ok(cookie) = HeaderValue::from_str(&format!(
            "{name}={}; Path=/; HttpOnly; SameSite=Lax",
            shared.sid_text(&session)
        ))
    {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    session.release_reader();
    response
}

/// A second, lean task carries the session; this one ends with the HTTP part.
async fn open_websocket(shared: Arc<Shared>, on_upgrade: OnUpgrade, handshake: Handshake) {
    let Some((socket, unread)) = switched(on_upgrade).await else {
        return;
    };
    let session = shared.open(handshake, TransportKind::WebSocket);
    match socket {
        Socket::Tcp(io) => spawn_task(&shared, WebSocketTask::begin(io, session, unread)),
        Socket::Other(io) => spawn_task(&shared, WebSocketTask::begin(io, session, unread)),
    }
}

fn spawn_task<T: Future<Output = ()> + Send + 'static>(shared: &Shared, task: Option<T>) {
    if let Some(task) = task {
        shared.runtime.spawn(task);
    }
}

/// A WebSocket for a long-polling session.
fn upgrade<B>(
    shared: &Arc<Shared>,
    mut request: Request<B>,
    sid: Option<Sid>,
    transport: TransportKind,
) -> Answer {
    let session = sid
        .and_then(|sid| shared.registry.get(&sid))
        .ok_or(Rejection::UnknownSid)?;
    if transport != TransportKind::WebSocket || request.method() != Method::GET {
        return Err(Rejection::BadRequest);
    }
    let (on_upgrade, response) = switch(&mut request)?;
    let is_begun = shared.config.offers_upgrade() && session.begin_upgrade().is_ok();
    let runtime = &shared.runtime;
    if is_begun {
        runtime.spawn(probe(session, on_upgrade));
    } else {
        runtime.spawn(refuse(Arc::clone(shared), on_upgrade));
    }
    Ok(response)
}

async fn probe(session: Arc<Session>, on_upgrade: OnUpgrade) {
    match switched(on_upgrade).await {
        Some((Socket::Tcp(io), unread)) => websocket::probe(io, unread, session).await,
        Some((Socket::Other(io), unread)) => websocket::probe(io, unread, session).await,
        None => session.give_up_upgrade(),
    }
}

async fn refuse(shared: Arc<Shared>, on_upgrade: OnUpgrade) {
    match switched(on_upgrade).await {
        Some((Socket::Tcp(io), _)) => websocket::close_surplus(io, shared).await,
        Some((Socket::Other(io), _)) => websocket::close_surplus(io, shared).await,
        None => {}
    }
}

/// The answer that switches protocols, and what resolves when it is sent.
fn switch<B>(request: &mut Request<B>) -> Result<(OnUpgrade, Response<Full<Bytes>>), Rejection> {
    let accept = websocket::accept(request.headers()).ok_or(Rejection::BadRequest)?;
    if request.extensions().get::<OnUpgrade>().is_none() {
        return Err(Rejection::BadRequest);
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok((hyper::upgrade::on(request), response))
}

/// The socket below HTTP.
enum Socket {
    /// Without a layer in between: [`crate::serve`]'s, whose write deadline ends here, or another server's.
    Tcp(TcpStream),
    /// Any other, for example below TLS.
    Other(TokioIo<Upgraded>),
}

/// Waits for the switch, which comes with the last byte of the answer, or fails with the connection.
async fn switched(on_upgrade: OnUpgrade) -> Option<(Socket, Vec<u8>)> {
    let upgraded = tokio::time::timeout(SWITCH_DEADLINE, on_upgrade)
        .await
        .ok()?
        .ok()?;
    let upgraded = match upgraded.downcast::<serve::Stream>() {
        Ok(parts) => return Some((Socket::Tcp(parts.io.into_inner()), parts.read_buf.to_vec())),
        Err(upgraded) => upgraded,
    };
    Some(match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (Socket::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
        // What was read already is still in it.
        Err(upgraded) => (Socket::Other(TokioIo::new(upgraded)), Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;

    use hyper::body::Incoming;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tower::service_fn;

    #[tokio::test]
    async fn a_websocket_of_serve_is_a_plain_tcp_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut upgrades) = mpsc::unbounded_channel();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (on_upgrade, response) = switch(&mut request).unwrap();
            sender.send(on_upgrade).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let never = std::future::pending::<()>();
        let options = serve::Options::default();
        let server = tokio::spawn(serve::serve(listener, service, options, never));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly";
        client.write_all(request.as_bytes()).await.unwrap();
        let on_upgrade = upgrades.recv().await.unwrap();
        let (socket, unread) = switched(on_upgrade).await.unwrap();
        assert!(matches!(socket, Socket::Tcp(_)));
        assert_eq!(unread, b"early");
        server.abort();
    }
}
