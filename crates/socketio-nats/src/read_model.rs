//! A node's own copy of what a namespace's log stores, fed by the log in its order (semantics 12).

use std::sync::Arc;
use std::time::Duration;

use chatcluster_socketio::log::{Busy, Committed, Record, Store};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

/// The rows could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("give up the rows of an earlier log")]
pub struct ResetError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// What a node keeps of a namespace's log. It is fed by [`Store::commit`], where `last_position` is the one up to which it
/// has been fed.
///
/// A record that failed is given again until it is stored: nothing above it may be stored before, so that no restart can
/// leave a hole behind.
pub trait ReadModel: Store {
    /// The epoch of the log that the rows are from; `None` if there was none yet.
    fn epoch(&self) -> Option<u64>;

    /// Gives up all rows, behind what was committed before: what follows is the log of this epoch, from its beginning.
    fn reset(&self, epoch: u64) -> BoxFuture<'static, Result<(), ResetError>>;

    /// The position of the row with this key; `None` if there is none, or it cannot be read.
    fn position_of(&self, key: [u8; 16]) -> BoxFuture<'static, Option<u64>>;

    /// The log begins with this position now: rows below it go, some time later. Must not block.
    fn trim(&self, first: u64);
}

/// How long to wait when the read model's queue is full.
const BUSY: Duration = Duration::from_millis(5);
/// Gives a record to a read model, which may be busy for a while.
pub(crate) async fn commit(
    model: &Arc<dyn ReadModel>,
    position: u64,
    record: &Record,
) -> oneshot::Receiver<Committed> {
    loop {
        match try_commit(model, position, record) {
            Ok(fate) => return fate,
            Err(Busy) => tokio::time::sleep(BUSY).await,
        }
    }
}

pub(crate) fn try_commit(
    model: &Arc<dyn ReadModel>,
    position: u64,
    record: &Record,
) -> Result<oneshot::Receiver<Committed>, Busy> {
    let (sender, fate) = oneshot::channel();
    let done = Box::new(move |committed| {
        // The pipeline may have ended.
        let _gone = sender.send(committed);
    });
    model.commit(position, record.clone(), done)?;
    Ok(fate)
}
