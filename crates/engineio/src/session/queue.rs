//! The frames that wait for one client.

use std::collections::VecDeque;

use crate::frame::Frame;

/// The frames that wait for one client. The first one needs no allocation, and an empty queue holds none.
#[derive(Default)]
pub(crate) struct SendQueue {
    /// Empty only if `rest` is.
    first: Option<Frame>,
    rest: VecDeque<Frame>,
    bytes: usize,
}

impl SendQueue {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len_bytes();
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Puts back a frame, or what is left of it, that was taken last.
    pub(crate) fn push_front(&mut self, frame: Frame) {
        self.bytes += frame.len_bytes();
        if let Some(second) = self.first.replace(frame) {
            self.rest.push_front(second);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.first.take()?;
        self.bytes -= frame.len_bytes();
        self.first = self.rest.pop_front();
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        Some(frame)
    }

    pub(crate) fn pop_if(&mut self, is_wanted: impl FnOnce(&Frame) -> bool) -> Option<Frame> {
        if is_wanted(self.first.as_ref()?) {
            self.pop()
        } else {
            None
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Frame {
        Frame::text(&"x".repeat(length))
    }

    #[test]
    fn frames_leave_in_order_and_are_counted() {
        let mut queue = SendQueue::default();
        for length in 0..10 {
            queue.push(frame(length));
        }
        let bytes = queue.bytes();
        let first = queue.pop().unwrap();
        assert_eq!(queue.bytes(), bytes - first.len_bytes());
        queue.push_front(first);
        assert_eq!(queue.bytes(), bytes);
        for length in 0..10 {
            assert_eq!(queue.pop(), Some(frame(length)));
        }
        assert!(queue.is_empty());
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn an_emptied_queue_gives_its_memory_back() {
        let mut queue = SendQueue::default();
        for _ in 0..1000 {
            queue.push(frame(1));
        }
        while queue.pop().is_some() {}
        assert_eq!(queue.rest.capacity(), 0);
    }
}
