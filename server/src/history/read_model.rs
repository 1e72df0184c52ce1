//! The history as a node's copy of what the cluster's log stores.

use chatcluster_socketio_nats::{ReadModel, ResetError};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{History, pages};

/// The writer ended before it came to it.
#[derive(Debug, thiserror::Error)]
#[error("the history is closed")]
struct Closed;

impl ReadModel for History {
    fn epoch(&self) -> Option<u64> {
        self.writer.epoch()
    }

    fn reset(&self, epoch: u64) -> BoxFuture<'static, Result<(), ResetError>> {
        let (done, is_done) = oneshot::channel();
        self.writer.reset(epoch, done);
        Box::pin(async move {
            match is_done.await {
                Ok(reset) => reset.map_err(|source| ResetError(source.into())),
                Err(_) => Err(ResetError(Closed.into())),
            }
        })
    }

    fn position_of(&self, key: [u8; 16]) -> BoxFuture<'static, Option<u64>> {
        let readers = self.readers.clone();
        Box::pin(async move {
            let found = pages::position_of(&readers, key).await;
            found.unwrap_or_else(|error| {
                tracing::warn!(%error, "where a repeated message is cannot be read");
                None
            })
        })
    }

    fn trim(&self, first: u64) {
        self.writer.trim_below(first);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chatcluster_socketio::log::{Committed, Store as _};

    use super::super::tests::{commit_all, contents, record, until};
    use super::super::{History, Options};
    use super::*;

    fn open(dir: &Path) -> History {
        History::open(&Options::read_model(dir, "test")).unwrap()
    }

    #[tokio::test]
    async fn the_rows_are_those_of_one_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let history = open(dir.path());
        assert_eq!((history.epoch(), history.last_position()), (None, 0));
        history.reset(7).await.unwrap();
        commit_all(&history, vec![(5, record(1, "", "of 7", 1))]);
        history.close();
        let history = open(dir.path());
        assert_eq!((history.epoch(), history.last_position()), (Some(7), 5));
        history.reset(8).await.unwrap();
        assert_eq!((history.epoch(), history.last_position()), (Some(8), 0));
        // The key and the position are free again.
        let results = commit_all(&history, vec![(3, record(1, "", "of 8", 1))]);
        assert_eq!(results, [(3, Committed::Stored)]);
        assert_eq!(
            contents(&history.newest("", 9).await.unwrap()),
            [(3, "of 8")]
        );
    }

    #[test]
    fn an_alone_server_s_messages_are_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let alone = History::open(&Options::new(dir.path())).unwrap();
        commit_all(&alone, vec![(5, record(1, "", "alone", 1))]);
        alone.close();
        assert_eq!(open(dir.path()).last_position(), 0);
    }

    #[tokio::test]
    async fn nothing_is_stored_above_what_could_not_be_stored_yet() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            max_bytes: Some(100_000),
            trim_every: std::time::Duration::from_millis(1),
            ..Options::read_model(dir.path(), "test")
        };
        let history = History::open(&options).unwrap();
        history.reset(1).await.unwrap();
        let big = "x".repeat(20_000);
        let mut full = 1;
        while commit_all(&history, vec![(full, record(full, "", &big, 1))])[0].1
            == Committed::Stored
        {
            full += 1;
        }
        assert!(!history.is_writing());
        // A small one would fit.
        let above = || (full + 1, record(full + 1, "", "small", 1));
        assert_eq!(commit_all(&history, vec![above()])[0].1, Committed::Failed);
        assert_eq!(history.last_position(), full - 1);
        // What the log has given up makes room.
        history.trim(full);
        until(async || history.newest("", 9).await.unwrap().is_empty()).await;
        assert_eq!(commit_all(&history, vec![above()])[0].1, Committed::Failed);
        for again in [(full, record(full, "", &big, 1)), above()] {
            assert_eq!(commit_all(&history, vec![again])[0].1, Committed::Stored);
        }
        assert!(history.is_writing());
        assert_eq!(history.last_position(), full + 1);
    }
}
