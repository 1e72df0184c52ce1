//! The engine as a tower service, so that it fits under an axum router.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;

use crate::engine::Engine;

/// The peer's address, as [`crate::serve`] puts it into a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

/// The engine as a tower service. A request without [`RemoteAddr`] counts as coming from `0.0.0.0:0`.
#[derive(Clone)]
pub struct EngineService {
    engine: Engine,
}

impl EngineService {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl<B> tower::Service<Request<B>> for EngineService
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let engine = self.engine.clone();
        let remote = request
            .extensions()
            .get::<RemoteAddr>()
            .map(|remote| remote.0);
        let remote = remote.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Box::pin(async move { Ok(engine.handle(request, remote).await) })
    }
}
