//! The bucket of the epoch.

use std::time::Duration;

use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{Context, kv};
use tokio::time::timeout;

use crate::epoch::EpochError;

const DEADLINE: Duration = Duration::from_secs(2);

/// Makes it if it is not there.
pub(super) async fn ensure(
    jetstream: &Context,
    bucket: &str,
    replicas: usize,
    storage: StorageType,
) -> Result<(), EpochError> {
    let found = timeout(DEADLINE, jetstream.get_key_value(bucket)).await;
    if found.map_err(|_| EpochError::NoAnswer)?.is_ok() {
        return Ok(());
    }
    let config = kv::Config {
        bucket: bucket.to_owned(),
        history: 1,
        num_replicas: replicas,
        storage,
        ..kv::Config::default()
    };
    let created = timeout(DEADLINE, jetstream.create_key_value(config)).await;
    if created.map_err(|_| EpochError::NoAnswer)?.is_ok() {
        return Ok(());
    }
    // Another node was faster.
    let found = timeout(DEADLINE, jetstream.get_key_value(bucket)).await;
    let found = found.map_err(|_| EpochError::NoAnswer)?;
    found.map(drop).map_err(|source| EpochError::Open {
        bucket: bucket.to_owned(),
        source: source.into(),
    })
}
