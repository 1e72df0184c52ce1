//! A node's own copy of what a namespace's log stores, fed by the log in its order (semantics 12).

use chatcluster_socketio::log::Store;
use futures_util::future::BoxFuture;

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

    /// The log begins with this position now: rows below it go, some time later. Must not block.
    fn trim(&self, first: u64);
}
