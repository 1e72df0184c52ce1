//! The bucket itself: made once, and then only looked at. Who changes the settings of a bucket in use knows why.

use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::context::{CreateKeyValueError, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{Context, ErrorCode, kv};
use tokio::time::timeout;

use crate::names::Names;

/// How long looking at the bucket, or making it, may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the broker keeps the mark of an expiry. Without marks it takes no expiry per key.
const MARKS: Duration = Duration::from_secs(1);

/// There is no bucket that sessions can be kept in.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// Its settings could not be read.
    #[error("read the settings of the bucket {bucket}")]
    Read {
        /// The bucket.
        bucket: String,
        /// What went wrong.
        #[source]
        source: GetStreamError,
    },
    /// It could not be made.
    #[error("create the bucket {bucket}")]
    Create {
        /// The bucket.
        bucket: String,
        /// What went wrong.
        #[source]
        source: CreateKeyValueError,
    },
    /// The broker did not answer in time.
    #[error(
        "the broker does not answer about the bucket {bucket} within {DEADLINE:?}: are the permissions complete?"
    )]
    TimedOut {
        /// The bucket.
        bucket: String,
    },
    /// It exists with other settings.
    #[error(
        "the bucket {bucket} has {setting} = {found}, and {wanted} is needed: change the bucket, or the setting here"
    )]
    Differs {
        /// The bucket.
        bucket: String,
        /// The setting's name in the stream's configuration.
        setting: &'static str,
        /// What the bucket has.
        found: String,
        /// What it must have.
        wanted: String,
    },
}

/// Sees to it that there is a bucket for sessions: one that exists must have the settings that are needed, and is never
/// changed.
pub(crate) async fn ensure_bucket(
    jetstream: &Context,
    names: &Names,
    replicas: usize,
    storage: StorageType,
) -> Result<(), BucketError> {
    let bucket = names.sessions();
    let ensured = timeout(DEADLINE, ensure(jetstream, &bucket, replicas, storage)).await;
    ensured.unwrap_or(Err(BucketError::TimedOut { bucket }))
}

async fn ensure(
    jetstream: &Context,
    bucket: &str,
    replicas: usize,
    storage: StorageType,
) -> Result<(), BucketError> {
    let named = || bucket.to_owned();
    match jetstream.get_stream(format!("KV_{bucket}")).await {
        Ok(stream) => check(bucket, &stream.cached_info().config, replicas, storage),
        Err(error) if is_absent(&error) => {
            let config = kv::Config {
                bucket: named(),
                description: "Sessions of a ChatCluster".to_owned(),
                history: 1,
                storage,
                num_replicas: replicas,
                limit_markers: Some(MARKS),
                ..kv::Config::default()
            };
            // Another node may be faster: the same settings are then no error.
            let created = jetstream.create_key_value(config).await;
            created.map(drop).map_err(|source| BucketError::Create {
                bucket: named(),
                source,
            })
        }
        Err(source) => Err(BucketError::Read {
            bucket: named(),
            source,
        }),
    }
}

fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn check(
    bucket: &str,
    config: &Config,
    replicas: usize,
    storage: StorageType,
) -> Result<(), BucketError> {
    let same = |setting, found: &dyn Debug, wanted: &dyn Debug| {
        let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
        if found == wanted {
            return Ok(());
        }
        Err(BucketError::Differs {
            bucket: bucket.to_owned(),
            setting,
            found,
            wanted,
        })
    };
    same("num_replicas", &config.num_replicas, &replicas)?;
    same("storage", &config.storage, &storage)?;
    same("max_msgs_per_subject", &config.max_messages_per_subject, &1)?;
    // A session lives for as long as its connection.
    same("max_age", &config.max_age, &Duration::ZERO)?;
    same("allow_direct", &config.allow_direct, &true)?;
    same("allow_msg_ttl", &config.allow_message_ttl, &true)?;
    let marks = config.subject_delete_marker_ttl.unwrap_or_default();
    same("subject_delete_marker_ttl", &marks, &MARKS)
}
