//! What nodes have stored of their sessions.

use async_nats::jetstream::{self, kv::Store};
use chatcluster_harness::adapters::OverNats;
use chatcluster_socketio::session::Record;
use chatcluster_socketio_nats::codec;
use chatcluster_socketio_nats::names::is_session_key;
use futures_util::StreamExt as _;

/// The bucket of the sessions.
pub(crate) async fn sessions(nats: &OverNats) -> Store {
    let client = async_nats::connect(nats.0.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    jetstream.get_key_value("test_sessions").await.unwrap()
}

/// All sessions in it.
pub(crate) async fn stored(bucket: &Store) -> Vec<Record> {
    let mut keys = bucket.keys().await.unwrap();
    let mut records = Vec::new();
    while let Some(key) = keys.next().await {
        let key = key.unwrap();
        if !is_session_key(&key) {
            continue;
        }
        if let Some(value) = bucket.get(key).await.unwrap() {
            records.push(codec::decode(&value).unwrap());
        }
    }
    records
}
