//! Long-polling over HTTP: the answers to GET and POST of a session.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use tokio::time::timeout;

use crate::close_reason::CloseReason;
use crate::engine::Shared;
use crate::payload::{self, Payload};
use crate::rejection::Rejection;
use crate::session::{Ending, PollError, PostGuard, Received, Session};
use crate::sid::Sid;

/// How much of what is too large is read before it is refused, in limits.
const DRAINED_LIMITS: usize = 4;
/// How long that may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// A client that closes has a GET under way, which is to be answered; on another connection it may come in a little
/// behind the close packet.
const GET_GRACE: Duration = Duration::from_millis(100);

/// Answers a GET: waits until there is something to send.
pub(crate) async fn get(session: &Arc<Session>) -> Result<Response<Full<Bytes>>, Rejection> {
    let payload = session.begin_get()?.payload().await?;
    Ok(packets_response(payload, session.shared()))
}

/// Answers a GET of a session that the server has closed, if it left something to say.
pub(crate) fn get_farewell(sid: &Sid, shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let limit = shared.config.max_payload;
    let payload = shared.farewells.take_from(sid, |queue| {
        if queue.is_empty() {
            (Payload::of("1"), false)
        } else {
            (Payload::take(queue, limit), true)
        }
    })?;
    Some(packets_response(payload, shared))
}

/// Answers a POST: hands its packets up, in order, and answers when the last one is handed up.
pub(crate) async fn post<B: Body>(
    request: Request<B>,
    session: &Arc<Session>,
) -> Result<Response<Full<Bytes>>, Rejection> {
    let (head, body) = request.into_parts();
    if head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"))
    {
        // As the reference: a client that sends such a body does not speak this protocol version.
        session.end(Ending::of(CloseReason::TransportError));
        return Err(Rejection::BadRequest);
    }
    let shared = session.shared();
    let limit = shared.config.max_payload;
    if announced_length(&head.headers).is_some_and(|length| length > limit as u64) {
        drain(pin!(body), limit).await;
        return Err(Rejection::TooLarge);
    }
    drop(head);
    let post = session.begin_post()?;
    let mut body = pin!(body);
    let body = match read_body(body.as_mut(), limit, &post).await {
        Ok(body) => body,
        Err(ReadError::TooLarge) => {
            drain(body, limit).await;
            post.done();
            return Err(Rejection::TooLarge);
        }
        Err(ReadError::TooSlow) => return Err(Rejection::TooSlow),
        // Dropping the guard ends the session, if it has not ended.
        Err(ReadError::Broken) => return Err(Rejection::BadRequest),
    };
    shared.counters.bytes_in.add(body.len() as u64);
    deliver(&body, &post).await?;
    post.done();
    Ok(response(
        HeaderValue::from_static("text/html"),
        Bytes::from_static(b"ok"),
    ))
}

/// Hands the packets up. A pause holds the rest, and so the answer.
async fn deliver(body: &Bytes, post: &PostGuard) -> Result<(), Rejection> {
    let session = post.session();
    // Without a connection the session has ended.
    let Some(connection) = session.connection() else {
        return Ok(());
    };
    for packet in payload::packets(body) {
        if session.is_closed() {
            return Ok(());
        }
        let Some(packet) = packet else {
            session.end(Ending::of(CloseReason::ParseError));
            return Err(Rejection::BadRequest);
        };
        session.counters().packets_in.increment();
        match session.receive(packet, &connection) {
            Received::Continue => {}
            Received::Paused => post.resumed().await,
            Received::Close(ending) => {
                if ending.is_by_packet() && timeout(GET_GRACE, post.accompanied()).await.is_err() {
                    tracing::trace!("a client closed without a GET");
                }
                session.end(ending);
            }
        }
    }
    Ok(())
}

enum ReadError {
    TooLarge,
    TooSlow,
    Broken,
}

impl ReadError {
    /// The session ended before the body did.
    fn after_end_of(session: &Session) -> Self {
        match session.close_reason() {
            Some(CloseReason::PingTimeout) => Self::TooSlow,
            _ => Self::Broken,
        }
    }
}

/// Reads on for a moment what is too large: a client that is still writing when the connection closes gets an error of
/// its system instead of the 413.
async fn drain<B: Body>(mut body: Pin<&mut B>, limit: usize) {
    let mut left = limit.saturating_mul(DRAINED_LIMITS);
    let draining = async {
        while left > 0 {
            match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Buf::remaining);
                    left = left.saturating_sub(bytes);
                }
                Some(Err(_)) | None => return,
            }
        }
    };
    if timeout(DRAIN_DEADLINE, draining).await.is_err() {
        tracing::trace!("a client goes on sending what is too large");
    }
}

/// Reads the body, at most `limit` bytes of it. Memory grows with what arrives, not with what was announced.
///
/// The heartbeat is the deadline: a session has one POST at a time, so no pong can pass a body that does not end.
async fn read_body<B: Body>(
    mut body: Pin<&mut B>,
    limit: usize,
    post: &PostGuard,
) -> Result<Bytes, ReadError> {
    let mut read = Vec::new();
    loop {
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            // The session may end meanwhile; then nobody wants the rest.
            Poll::Pending => post
                .poll_closed(cx)
                .map(|()| Err(ReadError::after_end_of(post.session()))),
        });
        let Some(frame) = frame.await? else {
            return Ok(Bytes::from(read));
        };
        let Ok(mut data) = frame.map_err(|_| ReadError::Broken)?.into_data() else {
            continue;
        };
        if data.remaining() > limit - read.len() {
            return Err(ReadError::TooLarge);
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            read.extend_from_slice(chunk);
            let length = chunk.len();
            data.advance(length);
        }
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A response of packets.
pub(crate) fn packets_response(payload: Payload, shared: &Shared) -> Response<Full<Bytes>> {
    let packets = payload.packets();
    let body = payload.into_bytes();
    shared.counters.packets_out.add(packets);
    shared.counters.bytes_out.add(body.len() as u64);
    response(HeaderValue::from_static("text/plain; charset=UTF-8"), body)
}

fn response(content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<PollError> for Rejection {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Unknown => Self::UnknownSid,
            PollError::Bad => Self::BadRequest,
        }
    }
}
