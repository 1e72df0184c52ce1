//! A secret that all nodes of a cluster share: made by the first one, and kept in the bucket of the epoch.

use std::fmt;
use std::time::Duration;

use chatcluster_socketio::outside;
use tokio::time::timeout;

use crate::cells::{Answer, Cells, Change, Write};
use crate::codec;

const KEY: &str = "peer_secret";
const DEADLINE: Duration = Duration::from_secs(2);

/// 32 random bytes. Whoever may read the bucket has them.
#[derive(Clone)]
pub struct PeerSecret([u8; 32]);

impl PeerSecret {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// It is not shown.
impl fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerSecret")
    }
}

/// The secret cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The server did not answer in time.
    #[error("no answer about the peer secret within {DEADLINE:?}")]
    NoAnswer,
    /// The server refused.
    #[error("read or make the peer secret")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is there is no secret, or was deleted.
    #[error("the peer secret on NATS cannot be used")]
    Unusable,
}

/// The secret in the bucket; one of two nodes that make it at the same time reads the other's.
pub(crate) async fn ensure(cells: &dyn Cells) -> Result<PeerSecret, SecretError> {
    let (revision, found) = read(cells).await?;
    if let Some(secret) = found {
        return Ok(secret);
    }
    let secret = PeerSecret(outside::random());
    let value = codec::encode(&secret.0).map_err(|source| SecretError::Refused(source.into()))?;
    let change = Change::Put { value, ttl: None };
    let write = Write::new(KEY.to_owned(), revision, change);
    let made = timeout(DEADLINE, cells.write(&write)).await;
    match made.map_err(|_| SecretError::NoAnswer)? {
        Ok(Answer::Stored(_)) => Ok(secret),
        Ok(Answer::Refused { .. }) => read(cells).await?.1.ok_or(SecretError::Unusable),
        Err(error) => Err(SecretError::Refused(error.into())),
    }
}

/// The key's revision, and the secret if it holds one.
async fn read(cells: &dyn Cells) -> Result<(u64, Option<PeerSecret>), SecretError> {
    let found = timeout(DEADLINE, cells.read(KEY)).await;
    let found = found.map_err(|_| SecretError::NoAnswer)?;
    let found = found.map_err(|source| SecretError::Refused(source.into()))?;
    let revision = found.as_ref().map_or(0, |found| found.revision);
    let secret = found
        .filter(|found| !found.is_mark)
        .map(|found| codec::decode(&found.value).map(PeerSecret))
        .transpose()
        .map_err(|_| SecretError::Unusable)?;
    Ok((revision, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{connect, ports};
    use chatcluster_harness::NatsServer;
    use chatcluster_harness::nats::Options;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn nodes_that_start_at_the_same_time_share_one_secret() {
        let server = NatsServer::start(Options::default()).await;
        let meta = ports(&connect(server.address()).await).meta;
        meta.ensure().await.unwrap();
        let made = join_all((0..8).map(|_| ensure(&*meta))).await;
        let made: Vec<_> = made.into_iter().map(|made| made.unwrap().0).collect();
        assert!(made.iter().all(|secret| *secret == made[0]));
        assert_ne!(made[0], [0; 32]);
        let later = ensure(&*meta).await.unwrap();
        assert_eq!(later.0, made[0]);
        assert_eq!(format!("{later:?}"), "PeerSecret");
    }
}
