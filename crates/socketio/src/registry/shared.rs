//! An unlogged event on its way to many.

use std::cell::OnceCell;

use crate::event::{Event, Frames};
use crate::offset::Offset;
use crate::socket::Socket;

/// The frames of an unlogged event, encoded once for all that are up to date.
#[derive(Default)]
pub(super) struct Shared {
    with_offset: OnceCell<Frames>,
    without_offset: OnceCell<Frames>,
}

impl Shared {
    pub(super) fn of(
        &self,
        event: &Event,
        namespace: &str,
        offset: Offset,
        socket: &Socket,
    ) -> &Frames {
        let (frames, text) = if socket.has_offsets() {
            (&self.with_offset, Some(offset))
        } else {
            (&self.without_offset, None)
        };
        frames.get_or_init(|| {
            let text = text.map(|offset| offset.to_string());
            event.frames(namespace, None, offset.position, text.as_deref())
        })
    }
}
