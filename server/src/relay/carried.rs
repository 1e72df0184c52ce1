//! The WebSockets that this server carries to others: they end with it, at the pace of its drain.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// What carries, and the way to end it, the oldest first. As many as the relay has room for.
#[derive(Default)]
pub(super) struct Carried(Mutex<State>);

#[derive(Default)]
struct State {
    tasks: JoinSet<()>,
    handles: VecDeque<AbortHandle>,
}

impl Carried {
    /// Takes one more; it is ended when this is dropped.
    pub(super) fn begin(&self, carrying: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.0.lock();
        state.clear_away();
        let handle = state.tasks.spawn(carrying);
        state.handles.push_back(handle);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let mut state = self.0.lock();
        state.clear_away();
        state.tasks.len()
    }

    /// Ends this many; their clients come back by themselves.
    pub(super) fn end(&self, count: usize) {
        let mut state = self.0.lock();
        state.clear_away();
        let ended = state.handles.len().min(count);
        for handle in state.handles.drain(..ended) {
            handle.abort();
        }
    }

    pub(super) fn end_all(&self) {
        self.end(usize::MAX);
    }
}

impl State {
    /// Forgets what has ended by itself.
    fn clear_away(&mut self) {
        let mut has_ended = false;
        while self.tasks.try_join_next().is_some() {
            has_ended = true;
        }
        if has_ended {
            self.handles.retain(|handle| !handle.is_finished());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn so_many_are_ended_and_what_has_ended_does_not_count() {
        let carried = Carried::default();
        let (end, ended) = oneshot::channel::<()>();
        carried.begin(async move {
            ended.await.ok();
        });
        for _ in 0..3 {
            carried.begin(std::future::pending());
        }
        assert_eq!(carried.count(), 4);
        end.send(()).unwrap();
        are_left(&carried, 3).await;
        carried.end(2);
        are_left(&carried, 1).await;
        carried.end_all();
        are_left(&carried, 0).await;
    }

    async fn are_left(carried: &Carried, count: usize) {
        let left = async {
            while carried.count() != count {
                tokio::task::yield_now().await;
            }
        };
        let within = tokio::time::timeout(Duration::from_secs(10), left).await;
        assert!(
            within.is_ok(),
            "{count} are to be left, not {}",
            carried.count()
        );
    }
}
