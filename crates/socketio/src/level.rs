//! A number that others wait for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A number that others wait for. Unlike those of `tokio::sync::watch`, who waits is woken in the order in which they began to.
#[derive(Debug, Default)]
pub struct Level {
    now: AtomicU64,
    changed: Notify,
}

impl Level {
    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// Sets it.
    pub fn set(&self, number: u64) {
        if self.now.swap(number, Ordering::AcqRel) != number {
            self.changed.notify_waiters();
        }
    }

    /// Sets it unless it is higher.
    pub fn raise(&self, number: u64) {
        if self.now.fetch_max(number, Ordering::AcqRel) < number {
            self.changed.notify_waiters();
        }
    }

    /// Resolves with the first number seen that is as wanted.
    pub async fn until(&self, wanted: impl Fn(u64) -> bool) -> u64 {
        loop {
            // Before the look: a change between the two is not missed.
            let changed = self.changed.notified();
            let now = self.get();
            if wanted(now) {
                return now;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_longest_is_woken_first() {
        let level = Arc::new(Level::default());
        let (woken, mut order) = tokio::sync::mpsc::unbounded_channel();
        for i in 0..20 {
            let (level, woken) = (level.clone(), woken.clone());
            tokio::spawn(async move {
                level.until(|now| now > 5).await;
                woken.send(i).unwrap();
            });
        }
        drop(woken);
        tokio::task::yield_now().await;
        level.raise(5);
        tokio::task::yield_now().await;
        level.raise(7);
        level.raise(6);
        let mut all = Vec::new();
        while let Some(i) = order.recv().await {
            all.push(i);
        }
        assert!(all.into_iter().eq(0..20));
        assert_eq!(level.get(), 7);
    }
}
