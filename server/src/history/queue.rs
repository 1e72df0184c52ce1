//! A bounded queue between async callers and a thread: full means refused, never waited.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// Items with a weight, bounded in number and in weight.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    max_items: usize,
    max_weight: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    is_open: bool,
}

/// The queue is full or closed.
#[derive(Debug)]
pub(super) struct Refused;

/// What waiting for items gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Items were taken.
    Items,
    /// None came in time.
    Idle,
    /// None are left, and none will come.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(max_items: usize, max_weight: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            weight: 0,
            is_open: true,
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            max_items,
            max_weight,
        }
    }

    /// Appends, unless the queue is full or closed. An item above the weight bound fits only alone.
    pub(super) fn push(&self, item: T, weight: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        let is_full = state.items.len() >= self.max_items
            || (state.weight + weight > self.max_weight && !state.items.is_empty());
        if !state.is_open || is_full {
            return Err(Refused);
        }
        state.items.push_back((item, weight));
        state.weight += weight;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for at least one item and takes what is there, up to `max_items` and, after the
    /// first, `max_weight`.
    pub(super) fn take(
        &self,
        taken: &mut Vec<T>,
        max_items: usize,
        max_weight: usize,
        wait: Duration,
    ) -> Waited {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if !state.is_open {
                return Waited::Closed;
            }
            let is_late = self.arrived.wait_until(&mut state, deadline).timed_out();
            if is_late && state.items.is_empty() && state.is_open {
                return Waited::Idle;
            }
        }
        let mut weight = 0;
        while let Some((_, next)) = state.items.front() {
            let is_full = taken.len() >= max_items || weight + next > max_weight;
            if is_full && !taken.is_empty() {
                break;
            }
            let (item, item_weight) = state.items.pop_front().expect("the front was just seen");
            weight += item_weight;
            taken.push(item);
        }
        state.weight -= weight;
        Waited::Items
    }

    /// Items and weight that wait.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.items.len(), state.weight)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// Refuses new items; those that wait can still be taken.
    pub(super) fn close(&self) {
        self.state.lock().is_open = false;
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_weight_are_bounded() {
        let queue = Queue::new(3, 10);
        queue.push('a', 4).unwrap();
        queue.push('b', 6).unwrap();
        queue.push('c', 1).unwrap_err();
        queue.push('d', 0).unwrap();
        queue.push('e', 0).unwrap_err();
        assert_eq!(queue.depth(), (3, 10));
    }

    #[test]
    fn a_heavy_item_fits_alone() {
        let queue = Queue::new(3, 10);
        queue.push('a', 100).unwrap();
        queue.push('b', 1).unwrap_err();
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken, 9, 9, Duration::ZERO), Waited::Items);
        assert_eq!(taken, ['a']);
        queue.push('b', 1).unwrap();
    }

    #[test]
    fn batches_keep_order_and_bounds() {
        let queue = Queue::new(100, 100);
        for number in 0..10 {
            queue.push(number, 3).unwrap();
        }
        let mut taken = Vec::new();
        queue.take(&mut taken, 4, 100, Duration::ZERO);
        assert_eq!(taken, [0, 1, 2, 3]);
        taken.clear();
        queue.take(&mut taken, 100, 8, Duration::ZERO);
        assert_eq!(taken, [4, 5]);
        assert_eq!(queue.depth(), (4, 12));
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(2, 2);
        queue.push('a', 1).unwrap();
        queue.close();
        queue.push('b', 1).unwrap_err();
        let mut taken = Vec::new();
        assert_eq!(
            queue.take(&mut taken, 9, 9, Duration::MAX.min(Duration::from_secs(9))),
            Waited::Items
        );
        assert_eq!(
            queue.take(&mut taken, 9, 9, Duration::from_secs(9)),
            Waited::Closed
        );
    }

    #[test]
    fn waiting_ends_when_nothing_comes() {
        let queue = Queue::<char>::new(2, 2);
        assert_eq!(
            queue.take(&mut Vec::new(), 9, 9, Duration::from_millis(1)),
            Waited::Idle
        );
    }
}
