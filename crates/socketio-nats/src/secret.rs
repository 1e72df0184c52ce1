//! A secret that all nodes of a cluster share: made by the first one, and kept in the bucket of the epoch.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use tokio::time::timeout;

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
pub(crate) async fn ensure(store: &Store) -> Result<PeerSecret, SecretError> {
    if let Some(secret) = read(store).await? {
        return Ok(secret);
    }
    let secret = PeerSecret(rand::random());
    let value = codec::encode(&secret.0).map_err(|source| SecretError::Refused(source.into()))?;
    let made = timeout(DEADLINE, store.create(KEY, value)).await;
    match made.map_err(|_| SecretError::NoAnswer)? {
        Ok(_) => Ok(secret),
        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
            read(store).await?.ok_or(SecretError::Unusable)
        }
        Err(error) => Err(SecretError::Refused(error.into())),
    }
}

async fn read(store: &Store) -> Result<Option<PeerSecret>, SecretError> {
    let value = timeout(DEADLINE, store.get(KEY)).await;
    let value = value.map_err(|_| SecretError::NoAnswer)?;
    let value = value.map_err(|source| SecretError::Refused(source.into()))?;
    value
        .map(|value| codec::decode(&value).map(PeerSecret))
        .transpose()
        .map_err(|_| SecretError::Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Epoch;
    use crate::testing::{connect, names};
    use async_nats::jetstream::{self, stream::StorageType};
    use chatcluster_harness::NatsServer;
    use chatcluster_harness::nats::Options;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn nodes_that_start_at_the_same_time_share_one_secret() {
        let server = NatsServer::start(Options::default()).await;
        let jetstream = jetstream::new(connect(server.address()).await);
        let opened = Epoch::open(&jetstream, &names(), 1, StorageType::Memory).await;
        let epoch = opened.unwrap();
        let made = join_all((0..8).map(|_| ensure(epoch.store()))).await;
        let made: Vec<_> = made.into_iter().map(|made| made.unwrap().0).collect();
        assert!(made.iter().all(|secret| *secret == made[0]));
        assert_ne!(made[0], [0; 32]);
        let later = ensure(epoch.store()).await.unwrap();
        assert_eq!(later.0, made[0]);
        assert_eq!(format!("{later:?}"), "PeerSecret");
    }
}
