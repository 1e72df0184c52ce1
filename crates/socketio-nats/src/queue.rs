//! A bounded queue with room kept for what must not be dropped.

use tokio::sync::mpsc;

/// How much waits, of what may be dropped.
pub(crate) const ROOM: usize = 1024;
/// How much more waits, of what must not be.
pub(crate) const RESERVE: usize = 1024;

/// Whether an item may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Dropped when [`ROOM`] is used up.
    Droppable,
    /// Dropped only when the reserve is used up, too.
    Needed,
}

/// No room, or nobody takes any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The end that puts in. One order for all weights.
pub(crate) struct Queue<T> {
    items: mpsc::Sender<T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> (Self, mpsc::Receiver<T>) {
        let (items, taken) = mpsc::channel(ROOM + RESERVE);
        (Self { items }, taken)
    }

    /// Never waits. Threads that push at the same time may together take a few places of the reserve.
    pub(crate) fn push(&self, item: T, weight: Weight) -> Result<(), Refused> {
        if weight == Weight::Droppable && self.items.capacity() <= RESERVE {
            return Err(Refused);
        }
        self.items.try_send(item).map_err(|_| Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_finds_room_where_the_droppable_does_not() {
        let (queue, mut taken) = Queue::new();
        for i in 0..ROOM {
            assert_eq!(queue.push(i, Weight::Droppable), Ok(()));
        }
        assert_eq!(queue.push(0, Weight::Droppable), Err(Refused));
        for i in 0..RESERVE {
            assert_eq!(queue.push(ROOM + i, Weight::Needed), Ok(()));
        }
        assert_eq!(queue.push(0, Weight::Needed), Err(Refused));
        let order = std::iter::from_fn(|| taken.try_recv().ok());
        assert!(order.eq(0..ROOM + RESERVE));
    }
}
