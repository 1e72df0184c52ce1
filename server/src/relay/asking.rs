//! Whether another server reads the log: asked past NATS, by one that cannot.

use std::time::Duration;

use bytes::Bytes;
use chatcluster_engineio::SidTag;
use futures_util::future::join_all;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::timeout;

use super::{Relay, headers};
use chatcluster_socketio_nats::RelayPlace;

/// Where a server says whether it reads the log.
pub(super) const PATH: &str = "/log";
/// How long it may take to say so.
const ANSWER: Duration = Duration::from_secs(2);
/// Servers that are asked at a time.
const ASKED: usize = 8;

impl Relay {
    /// Whether one of the other servers says that it reads the log, and has read all of it.
    pub async fn another_reads(&self) -> bool {
        let Some(joined) = self.0.joined.get() else {
            return false;
        };
        let places = joined.cluster.relay_places();
        for some in places.chunks(ASKED) {
            let answers = join_all(some.iter().map(|place| self.reads(place))).await;
            if answers.contains(&true) {
                return true;
            }
        }
        false
    }

    async fn reads(&self, place: &RelayPlace) -> bool {
        let Some(request) = self.question(place) else {
            return false;
        };
        match timeout(ANSWER, self.0.client.request(request)).await {
            Ok(Ok(answer)) => answer.status() == StatusCode::NO_CONTENT,
            _ => false,
        }
    }

    fn question(&self, place: &RelayPlace) -> Option<Request<Full<Bytes>>> {
        let tag = SidTag::parse(&place.tag)?;
        let token = self.0.joined.get()?.secret.token(tag);
        let uri = Uri::builder()
            .scheme("http")
            .authority(place.address.to_string())
            .path_and_query(PATH)
            .build();
        Request::get(uri.ok()?)
            .header(headers::TOKEN, token)
            .body(Full::default())
            .ok()
    }

    /// What is answered to that question.
    pub(super) fn reads_the_log(&self) -> bool {
        let joined = self.0.joined.get();
        joined.is_some_and(|joined| {
            joined.cluster.trouble().is_none() && joined.cluster.behind() == 0
        })
    }
}
