//! Buffers that all connections of a thread share, for no longer than one poll.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use crate::frame::Frame;

const READ_BYTES: usize = 64 << 10;

/// The most frames in one write.
pub(super) const BATCH: usize = 64;

thread_local! {
    static SCRATCH: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

pub(super) struct Buffers {
    pub(super) read: Box<[u8]>,
    pub(super) batch: Vec<Frame>,
}

/// The thread's buffers, taken out of their place and put back when dropped. Taking them a second time meanwhile gives
/// fresh ones, so that a handler which polls another connection on this stack does no harm.
pub(super) struct Scratch(Option<Box<Buffers>>);

impl Scratch {
    pub(super) fn take() -> Self {
        let buffers = SCRATCH.with(Cell::take);
        Self(Some(buffers.unwrap_or_else(|| {
            let read = vec![0; READ_BYTES].into_boxed_slice();
            Box::new(Buffers {
                read,
                batch: Vec::with_capacity(BATCH),
            })
        })))
    }
}

impl Deref for Scratch {
    type Target = Buffers;

    fn deref(&self) -> &Buffers {
        self.0.as_ref().expect("only Drop takes them")
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Buffers {
        self.0.as_mut().expect("only Drop takes them")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut buffers) = self.0.take() {
            buffers.batch.clear();
            SCRATCH.set(Some(buffers));
        }
    }
}
