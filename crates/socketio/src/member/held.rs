//! What a socket is sent past the log, and what it waits for: words of one emitter keep their order (ADR 8).

use std::collections::VecDeque;

use super::{After, Ending, Member, len_bytes};
use crate::event::{Event, Frames};
use crate::offset::Offset;

/// Something sent past the log that waits until the socket's own earlier emits have come through it.
pub(crate) enum Held {
    /// An unlogged event; gets its offset when it leaves.
    Event { event: Event, id: Option<u64> },
    /// An acknowledgement or another packet without offset.
    Packet(Frames),
    /// The namespace disconnect, and with `true` the whole connection's.
    Disconnect { packet: Frames, close: bool },
}

impl Held {
    /// The position that a replay must have reached before this may be sent, if the log's last is `last`.
    ///
    /// An acknowledgement must not overtake the sender's own copy of what it acknowledges. A DISCONNECT waits for nothing
    /// but the socket's own emits: whoever is to go need not read everything before.
    fn position_before(&self, last: u64) -> u64 {
        match self {
            Self::Event { .. } | Self::Packet(_) => last,
            Self::Disconnect { .. } => 0,
        }
    }

    /// True for what carries an offset: who has one is not sent history again.
    fn ends_backfill(&self) -> bool {
        matches!(self, Self::Event { id: None, .. })
    }

    fn len_bytes(&self) -> usize {
        match self {
            Self::Event { event, .. } => event.len_bytes(),
            Self::Packet(frames) | Self::Disconnect { packet: frames, .. } => len_bytes(frames),
        }
    }
}

/// What has to be sent before something that was sent past the log.
#[derive(Debug, Clone, Copy)]
struct Bar {
    /// So many of the socket's own unicast events.
    announced: u64,
    /// While the socket replays: the log up to here.
    position: u64,
}

#[derive(Default)]
pub(super) struct HeldQueue {
    /// Each with what goes before it.
    items: VecDeque<(Bar, Held)>,
    bytes: usize,
}

impl Member {
    /// A unicast event of this socket goes into the log; returns its number.
    pub(crate) fn announce(&mut self) -> u64 {
        self.announced += 1;
        self.announced
    }

    /// The log did not take the event of this number: nothing waits for it any more.
    pub(crate) fn retract(
        &mut self,
        number: u64,
        namespace: &str,
        offset: Offset,
        after: &mut After,
    ) {
        self.announced -= 1;
        let items = self.held.iter_mut().flat_map(|queue| &mut queue.items);
        for (bar, _) in items.filter(|(bar, _)| bar.announced >= number) {
            bar.announced -= 1;
        }
        self.release_held(namespace, offset, after);
    }

    /// Sends at once, or holds it behind what goes before it: the socket's own emits that are on their way through the
    /// log, and in a replay what the log held by now.
    pub(crate) fn send_direct(
        &mut self,
        held: Held,
        namespace: &str,
        offset: Offset,
        after: &mut After,
    ) {
        let bar = Bar {
            announced: self.announced,
            position: held.position_before(offset.position),
        };
        if self.held.is_none() && self.may_go(bar, &held) {
            return self.send_now(held, namespace, offset, after);
        }
        let queue = self.held.get_or_insert_default();
        queue.bytes += held.len_bytes();
        queue.items.push_back((bar, held));
        if queue.bytes > self.socket.max_send_queue() && !self.socket.is_overflowed() {
            self.socket.mark_overflowed();
            after.push((self.socket.clone(), Ending::Overflow));
        }
    }

    fn may_go(&self, bar: Bar, held: &Held) -> bool {
        let is_reached = self.cursor.is_none_or(|cursor| cursor >= bar.position);
        let is_early = self.is_backfilling && held.ends_backfill();
        self.settled >= bar.announced && is_reached && !is_early
    }

    /// Sends what was held, as far as nothing holds it any more.
    pub(crate) fn release_held(&mut self, namespace: &str, offset: Offset, after: &mut After) {
        while let Some(queue) = &mut self.held {
            let Some((bar, held)) = queue.items.pop_front() else {
                self.held = None;
                return;
            };
            queue.bytes = queue.bytes.saturating_sub(held.len_bytes());
            if self.may_go(bar, &held) {
                let is_last = matches!(held, Held::Disconnect { .. });
                self.send_now(held, namespace, offset, after);
                if is_last {
                    self.held = None;
                }
            } else if let Some(queue) = &mut self.held {
                queue.bytes += held.len_bytes();
                queue.items.push_front((bar, held));
                return;
            }
        }
    }

    fn send_now(&mut self, held: Held, namespace: &str, offset: Offset, after: &mut After) {
        match held {
            Held::Event { event, id } => {
                self.is_untouched &= id.is_some();
                let offset = Offset {
                    position: self.cursor.unwrap_or(offset.position),
                    ..offset
                };
                let text = (id.is_none() && self.socket.has_offsets()).then(|| offset.to_string());
                let frames = event.frames(namespace, id, offset.position, text.as_deref());
                self.send_frames(&frames, after);
            }
            Held::Packet(frames) => self.send_frames(&frames, after),
            Held::Disconnect { packet, close } => {
                after.push((self.socket.clone(), Ending::Disconnect { packet, close }));
            }
        }
    }
}
