//! The way out: a request of another server's session is sent there, and its answer brought back.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use chatcluster_engineio::{RemoteAddr, SidTag, is_upgrade};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::measures::{Kind, Outcome};
use super::{Relay, carrying, headers};

/// How long both ends may take to switch protocols.
const SWITCH: std::time::Duration = std::time::Duration::from_secs(10);
/// How much of a body that is too large is read before that is said, in limits, and how long that may take: who still
/// writes when the connection closes would get an error of its system instead.
const DRAINED_LIMITS: usize = 4;
const DRAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a request is answered.
pub enum Passed {
    /// By the own engine: the session is its own, there is none, or its owner cannot be asked. Then the engine, which knows
    /// no such session, says so.
    Here(Request),
    /// The answer came from elsewhere, or is final.
    Elsewhere(Response),
}

/// The server that holds a session.
struct Owner {
    tag: SidTag,
    address: SocketAddr,
    token: HeaderValue,
}

/// A request under way. Its permit is given back with it.
struct Hop {
    kind: Kind,
    until: Instant,
    room: UnderWay,
}

/// A place among what is being relayed.
struct UnderWay {
    relay: Relay,
    _permit: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.relay.0.measures.under_way.dec();
    }
}

/// Why there is no answer of the owner's.
enum Trouble {
    Gone,
    Refused,
    Failed(&'static str),
    TooLarge,
}

impl Relay {
    /// Brings a request to the server that holds its session, if that is another one.
    pub async fn pass(&self, request: Request) -> Passed {
        let tag = SidTag::of_request(request.uri());
        let Some(tag) = tag.filter(|tag| *tag != self.0.tag) else {
            return Passed::Here(request);
        };
        let Some(kind) = kind(&request) else {
            return Passed::Here(request);
        };
        let Some(owner) = self.owner(tag) else {
            self.0.measures.relayed(kind, Outcome::Gone);
            return Passed::Here(request);
        };
        self.pass_to(&owner, kind, request).await
    }

    /// Brings it to this server, if there is room for one more.
    async fn pass_to(&self, owner: &Owner, kind: Kind, request: Request) -> Passed {
        let Ok(permit) = self.0.room.clone().try_acquire_owned() else {
            self.0.measures.relayed(kind, Outcome::Rejected);
            return Passed::Elsewhere(busy());
        };
        self.0.measures.under_way.inc();
        let hop = Hop {
            kind,
            until: Instant::now() + self.0.bounds.time,
            room: UnderWay {
                relay: self.clone(),
                _permit: permit,
            },
        };
        self.hop(hop, owner, request).await
    }

    fn owner(&self, tag: SidTag) -> Option<Owner> {
        let joined = self.0.joined.get()?;
        let address = joined.cluster.peer_by_tag(&tag.to_string())?;
        let token = joined.secret.token(tag);
        Some(Owner {
            tag,
            address,
            token,
        })
    }

    async fn hop(&self, hop: Hop, owner: &Owner, request: Request) -> Passed {
        let kind = hop.kind;
        let (mut head, body) = request.into_parts();
        let answer = self.ask(hop, owner, &mut head, body).await;
        let (outcome, why) = match &answer {
            Ok(_) => (Outcome::Ok, ""),
            Err(Trouble::Gone) => (Outcome::Gone, "nobody listens there"),
            Err(Trouble::Refused) => (
                Outcome::Refused,
                "it has another secret, or is another server now",
            ),
            Err(Trouble::Failed(why)) => (Outcome::Failed, *why),
            Err(Trouble::TooLarge) => (Outcome::Rejected, "the body is too large"),
        };
        self.0.measures.relayed(kind, outcome);
        match answer {
            Ok(answer) => Passed::Elsewhere(answer),
            Err(trouble) => {
                tracing::debug!(
                    owner.tag = %owner.tag, owner.address = %owner.address, outcome = outcome.label(), why,
                    "a request was not relayed"
                );
                if matches!(trouble, Trouble::TooLarge) {
                    let text = "Payload too large";
                    return Passed::Elsewhere(
                        (StatusCode::PAYLOAD_TOO_LARGE, text).into_response(),
                    );
                }
                // Whatever became of it: the session cannot be continued over this request.
                Passed::Here(Request::from_parts(head, Body::empty()))
            }
        }
    }

    async fn ask(
        &self,
        hop: Hop,
        owner: &Owner,
        head: &mut Parts,
        body: Body,
    ) -> Result<Response, Trouble> {
        let on_upgrade = head.extensions.remove::<OnUpgrade>();
        let body = match hop.kind {
            Kind::Post => self.read(hop.until, head, body).await?,
            Kind::Poll | Kind::WebSocket => Bytes::new(),
        };
        let request = forwarded(head, hop.kind, owner, body)?;
        let asked = timeout_at(hop.until, self.0.client.request(request)).await;
        let mut answer = match asked {
            Err(_) => return Err(Trouble::Failed("no answer in time")),
            Ok(Err(error)) if error.is_connect() => return Err(Trouble::Gone),
            Ok(Err(_)) => return Err(Trouble::Failed("the connection broke")),
            Ok(Ok(answer)) => answer,
        };
        if answer.headers().contains_key(headers::TOKEN) {
            return Err(Trouble::Refused);
        }
        headers::end_to_end(answer.headers_mut());
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let on_upgrade = on_upgrade.ok_or(Trouble::Failed("no upgrade was asked for"))?;
            return Ok(self.switch(hop, on_upgrade, answer));
        }
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.0.bounds.max_answer);
        match timeout_at(hop.until, body.collect()).await {
            Ok(Ok(body)) => Ok(Response::from_parts(head, Body::from(body.to_bytes()))),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(Trouble::Failed("the answer is too large"))
            }
            Ok(Err(_)) => Err(Trouble::Failed("the answer broke off")),
            Err(_) => Err(Trouble::Failed("the answer did not end in time")),
        }
    }

    /// The body of a POST, whole: the owner gets what it can hand up at once, or nothing.
    async fn read(&self, until: Instant, head: &Parts, body: Body) -> Result<Bytes, Trouble> {
        let limit = self.0.bounds.max_payload;
        let mut body = pin!(body);
        let mut read = BytesMut::new();
        let reading = async {
            let is_announced = body.size_hint().lower() > limit as u64;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| Trouble::Failed("the client broke off"))?;
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if is_announced || data.len() > limit - read.len() {
                    return Err(Trouble::TooLarge);
                }
                read.extend_from_slice(&data);
            }
            Ok(())
        };
        let outcome = timeout_at(until, reading).await;
        let outcome = outcome.unwrap_or(Err(Trouble::Failed("the client was too slow")));
        if matches!(outcome, Err(Trouble::TooLarge)) {
            drain(body, limit).await;
            tracing::trace!(uri.path = head.uri.path(), "a body was too large to relay");
        }
        outcome.map(|()| read.freeze())
    }

    /// Agrees to the WebSocket that the owner agreed to, and carries its bytes from then on.
    fn switch(
        &self,
        hop: Hop,
        client: OnUpgrade,
        mut answer: hyper::Response<Incoming>,
    ) -> Response {
        let owner = hyper::upgrade::on(&mut answer);
        let silence = self.0.bounds.time;
        let room = hop.room;
        let carrying = async move {
            let ends = timeout(SWITCH, async { tokio::try_join!(client, owner) }).await;
            match ends {
                Ok(Ok((client, owner))) => {
                    carrying::carry(TokioIo::new(client), TokioIo::new(owner), silence).await;
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!("a relayed WebSocket was gone before it began")
                }
            }
            drop(room);
        };
        self.0.carried.begin(carrying);
        let (mut head, _) = answer.into_parts();
        headers::upgrade(&mut head.headers);
        Response::from_parts(head, Body::empty())
    }
}

/// What another server can be asked for; anything else is no request of a session.
fn kind(request: &Request) -> Option<Kind> {
    match *request.method() {
        Method::GET if is_upgrade(request.headers()) => Some(Kind::WebSocket),
        Method::GET => Some(Kind::Poll),
        Method::POST => Some(Kind::Post),
        _ => None,
    }
}

fn forwarded(
    head: &Parts,
    kind: Kind,
    owner: &Owner,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, Trouble> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme("http")
        .authority(owner.address.to_string())
        .path_and_query(path)
        .build();
    let mut request = http::Request::new(Full::from(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.map_err(|_| Trouble::Failed("no such address"))?;
    *request.headers_mut() = hop_headers(head, kind, owner);
    Ok(request)
}

fn hop_headers(head: &Parts, kind: Kind, owner: &Owner) -> HeaderMap {
    let mut headers = head.headers.clone();
    headers::end_to_end(&mut headers);
    if kind == Kind::WebSocket {
        headers::upgrade(&mut headers);
    }
    // What a client sent under these names is replaced.
    headers.insert(headers::TOKEN, owner.token.clone());
    let client = head.extensions.get::<RemoteAddr>().map(|client| client.0);
    let client = client.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    if let Ok(client) = HeaderValue::try_from(client.to_string()) {
        headers.insert(headers::CLIENT, client);
    }
    headers
}

async fn drain(mut body: Pin<&mut Body>, limit: usize) {
    let draining = async {
        let mut left = limit.saturating_mul(DRAINED_LIMITS);
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    if timeout(DRAIN, draining).await.is_err() {
        tracing::trace!("a client goes on sending what is too large");
    }
}

/// Too much is under way; nothing was sent, so that the same request may be made again.
fn busy() -> Response {
    let text = "too many requests are being relayed";
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text).into_response()
}

#[cfg(test)]
mod tests;
