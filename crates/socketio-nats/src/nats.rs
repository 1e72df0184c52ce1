//! The ports of this crate on NATS, by async-nats.

mod ack;
mod cells;
mod log;
mod meta;
mod pages;
mod pull;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{Context, ContextBuilder};
use tokio::sync::watch;

use crate::names::Names;
use crate::options::Options;
use crate::ports::Ports;

use cells::{Bucket, Kind};
use log::Stream;
use wire::ClientWire;

/// How long JetStream may take to answer a call that is not bounded more tightly.
const CALL: Duration = Duration::from_secs(5);

/// The ports of one connection.
pub(crate) fn ports(
    client: &Client,
    connections: watch::Receiver<u64>,
    names: &Names,
    options: &Arc<Options>,
) -> Ports {
    let bucket = |kind| Arc::new(Bucket::new(client.clone(), names, kind, options.clone()));
    Ports {
        log: Arc::new(Stream::new(client, names.clone(), options.clone())),
        sessions: bucket(Kind::Sessions),
        meta: bucket(Kind::Meta),
        wire: Arc::new(ClientWire::new(client.clone())),
        connections,
    }
}

fn jetstream(client: &Client) -> Context {
    ContextBuilder::new().timeout(CALL).build(client.clone())
}
