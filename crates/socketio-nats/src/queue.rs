//! A queue bounded in items and bytes, with room kept for what must not be dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// How much waits, of what may be dropped: a burst of a whole namespace without a log.
pub(crate) const ROOM: usize = 1 << 16;
/// How many bytes that may be.
pub(crate) const ROOM_BYTES: usize = 64 << 20;
/// How much more waits, of what must not be.
pub(crate) const RESERVE: usize = 1024;

/// Whether an item may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Dropped when [`ROOM`] or [`ROOM_BYTES`] are used up.
    Droppable,
    /// Dropped only when the reserve is used up, too.
    Needed,
}

/// No room, or nobody takes any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The end that puts in. One order for all weights.
pub(crate) struct Queue<T> {
    items: mpsc::Sender<(usize, T)>,
    bytes: Arc<AtomicUsize>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            bytes: self.bytes.clone(),
        }
    }
}

/// The end that takes out.
pub(crate) struct Taker<T> {
    items: mpsc::Receiver<(usize, T)>,
    bytes: Arc<AtomicUsize>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> (Self, Taker<T>) {
        let (items, taken) = mpsc::channel(ROOM + RESERVE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let taker = Taker {
            items: taken,
            bytes: bytes.clone(),
        };
        (Self { items, bytes }, taker)
    }

    /// Never waits. Threads that push at the same time may together go a little beyond the room.
    pub(crate) fn push(&self, item: T, bytes: usize, weight: Weight) -> Result<(), Refused> {
        let is_full = self.items.capacity() <= RESERVE
            || self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > ROOM_BYTES;
        if weight == Weight::Droppable && is_full {
            return Err(Refused);
        }
        // Before the item is there to be taken: what is taken off was put on.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.items.try_send((bytes, item)).map_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            Refused
        })
    }
}

impl<T> Taker<T> {
    /// The next item; `None` once nothing can come any more.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let (bytes, item) = self.items.recv().await?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(item)
    }

    /// Nothing more is put in; what is there can still be taken.
    pub(crate) fn close(&mut self) {
        self.items.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn what_is_needed_finds_room_where_the_droppable_does_not() {
        let (queue, mut taken) = Queue::new();
        for i in 0..ROOM {
            assert_eq!(queue.push(i, 1, Weight::Droppable), Ok(()));
        }
        assert_eq!(queue.push(0, 1, Weight::Droppable), Err(Refused));
        for i in 0..RESERVE {
            assert_eq!(queue.push(ROOM + i, 1, Weight::Needed), Ok(()));
        }
        assert_eq!(queue.push(0, 1, Weight::Needed), Err(Refused));
        let order = std::iter::from_fn(|| taken.items.try_recv().ok()).map(|(_, item)| item);
        assert!(order.eq(0..ROOM + RESERVE));
    }

    #[test]
    fn bytes_are_bounded_and_come_back_when_they_are_taken() {
        let (queue, mut taken) = Queue::new();
        let half = ROOM_BYTES / 2;
        assert_eq!(queue.push(1, half, Weight::Droppable), Ok(()));
        assert_eq!(queue.push(2, half, Weight::Droppable), Ok(()));
        assert_eq!(queue.push(3, 1, Weight::Droppable), Err(Refused));
        assert_eq!(queue.push(4, 1, Weight::Needed), Ok(()));
        assert_eq!(taken.recv().now_or_never(), Some(Some(1)));
        assert_eq!(queue.push(5, half - 1, Weight::Droppable), Ok(()));
        assert_eq!(queue.push(6, 1, Weight::Droppable), Err(Refused));
    }
}
