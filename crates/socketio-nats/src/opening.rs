//! Opening a log: what is missing is made, what is there is compared, and the epoch says which log it is.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::Error;
use crate::counters::Counters;
use crate::epoch::Epoch;
use crate::follower::Source;
use crate::names::Names;
use crate::options::Options;
use crate::ports::Ports;
use crate::position::last_of;
use crate::read_model::ReadModel;

/// A log that can be read: its epoch, when it was made, after which sequence to read, and with which one it ends.
pub(crate) struct Open {
    pub(crate) source: Source,
    pub(crate) log: (u64, i64, u64, u64),
}

pub(crate) async fn open_log(
    ports: Ports,
    names: &Names,
    options: Arc<Options>,
    counters: &Arc<Counters>,
    read_models: &HashMap<String, Arc<dyn ReadModel>>,
) -> Result<Open, Error> {
    let log = ports.log.ensure().await?;
    open_buckets(&ports).await?;
    let epoch = Epoch::new(ports.meta.clone());
    let now = begin_epoch(&epoch, log.created, log.last, read_models).await?;
    let source = Source {
        ports,
        names: names.clone(),
        options,
        epoch,
        counters: counters.clone(),
        read_models: read_models.values().cloned().collect(),
    };
    let begin = source.start(log).await;
    let begin = begin.map_err(|trouble| Error::Read(trouble.into()))?;
    let log = (now, log.created, begin, log.last);
    Ok(Open { source, log })
}

/// Makes the buckets if they are missing.
pub(crate) async fn open_buckets(ports: &Ports) -> Result<(), Error> {
    ports.meta.ensure().await?;
    ports.sessions.ensure().await
}

/// The epoch of the log whose last sequence is `end`; rows of another one are given up. Rows above its end say that it was
/// set back while nobody looked.
async fn begin_epoch(
    epoch: &Epoch,
    created: i64,
    end: u64,
    read_models: &HashMap<String, Arc<dyn ReadModel>>,
) -> Result<u64, Error> {
    let mut now = epoch.of(created).await?;
    let is_above = |model: &Arc<dyn ReadModel>| {
        model.epoch() == Some(now) && model.last_position() > last_of(end)
    };
    if read_models.values().any(is_above) {
        now = epoch.raise(now, created).await?;
    }
    for model in read_models.values() {
        if model.epoch() != Some(now) {
            model.reset(now).await?;
        }
    }
    Ok(now)
}
