//! The incremental decoder of client frames.
//!
//! Payload bytes are unmasked straight into the message that will be handed out, so each byte is touched once however
//! small the pieces are, and memory grows with what has arrived, not with what was announced. Between frames the
//! decoder is one empty pointer.

use bytes::Bytes;

use super::close_code;
use crate::message::Text;

/// Two bytes, a 64-bit length and the mask.
const LONGEST_HEAD: usize = 14;
const LONGEST_CONTROL: usize = 125;

/// Something complete from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Text(Text),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    /// The code to answer with.
    Close(u16),
}

/// The peer broke the protocol; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    Protocol,
    InvalidText,
    TooBig,
}

impl Violation {
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::Protocol => close_code::PROTOCOL_ERROR,
            Self::InvalidText => close_code::INVALID_TEXT,
            Self::TooBig => close_code::TOO_BIG,
        }
    }
}

/// The decoder of one connection.
#[derive(Default)]
pub(super) struct Decoder {
    /// Nothing, unless a frame or a fragmented message is unfinished.
    partial: Option<Box<Partial>>,
}

/// An unfinished frame, and the message that it may be a fragment of.
#[derive(Default)]
struct Partial {
    head_bytes: [u8; LONGEST_HEAD],
    head_len: usize,
    head: Option<Head>,
    message: Vec<u8>,
    /// Whether the fragmented message is text.
    is_text: Option<bool>,
    control: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    is_final: bool,
    opcode: Opcode,
    mask: [u8; 4],
    remaining: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Decoder {
    /// Reads on until something is complete or the input is used up. `most` bounds a message, over all its fragments.
    pub(super) fn decode(
        &mut self,
        input: &mut &[u8],
        most: usize,
    ) -> Result<Option<Event>, Violation> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut partial = self
            .partial
            .take()
            .map_or_else(Partial::default, |partial| *partial);
        let event = partial.read(input, most)?;
        if !partial.is_idle() {
            self.partial = Some(Box::new(partial));
        }
        Ok(event)
    }
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head.is_none() && self.head_len == 0 && self.is_text.is_none()
    }

    fn read(&mut self, input: &mut &[u8], most: usize) -> Result<Option<Event>, Violation> {
        loop {
            let Some(head) = self.read_head(input, most)? else {
                return Ok(None);
            };
            let Some(head) = self.read_payload(head, input) else {
                return Ok(None);
            };
            if let Some(event) = self.finish(head)? {
                return Ok(Some(event));
            }
        }
    }

    /// The head of the current frame, once it is complete.
    fn read_head(&mut self, input: &mut &[u8], most: usize) -> Result<Option<Head>, Violation> {
        if let Some(head) = self.head {
            return Ok(Some(head));
        }
        if !self.fill_head(input, 2) {
            return Ok(None);
        }
        let [first, second, ..] = self.head_bytes;
        let opcode = opcode(first, second)?;
        let length_bytes = match second & 0x7f {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        if !self.fill_head(input, 2 + length_bytes + 4) {
            return Ok(None);
        }
        let length = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => self.head_bytes[2..2 + length_bytes]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.head_bytes[2 + length_bytes..2 + length_bytes + 4]);
        let head = Head {
            is_final: first & 0x80 != 0,
            opcode,
            mask,
            remaining: self.admit(opcode, length, most)?,
        };
        self.head = Some(head);
        self.head_len = 0;
        Ok(Some(head))
    }

    /// Whether the first `wanted` bytes of the head are there.
    fn fill_head(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let taken = wanted.saturating_sub(self.head_len).min(input.len());
        let (bytes, rest) = input.split_at(taken);
        self.head_bytes[self.head_len..self.head_len + taken].copy_from_slice(bytes);
        self.head_len += taken;
        *input = rest;
        self.head_len >= wanted
    }

    /// Checks a frame against the message it belongs to, and its length.
    fn admit(&mut self, opcode: Opcode, length: u64, most: usize) -> Result<usize, Violation> {
        match opcode {
            Opcode::Continuation if self.is_text.is_none() => return Err(Violation::Protocol),
            Opcode::Text | Opcode::Binary if self.is_text.is_some() => {
                return Err(Violation::Protocol);
            }
            Opcode::Text => self.is_text = Some(true),
            Opcode::Binary => self.is_text = Some(false),
            Opcode::Continuation => {}
            // `opcode` has checked that these are short.
            Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(length as usize),
        }
        match usize::try_from(length) {
            Ok(length) if length <= most.saturating_sub(self.message.len()) => Ok(length),
            _ => Err(Violation::TooBig),
        }
    }

    /// Unmasks what has arrived of the payload; the head, once all of it has.
    fn read_payload(&mut self, mut head: Head, input: &mut &[u8]) -> Option<Head> {
        let taken = head.remaining.min(input.len());
        let (bytes, rest) = input.split_at(taken);
        *input = rest;
        let target = if head.opcode.is_control() {
            &mut self.control
        } else {
            &mut self.message
        };
        reserve(target, taken, head.remaining);
        let start = target.len();
        target.extend_from_slice(bytes);
        unmask(&mut target[start..], head.mask);
        head.remaining -= taken;
        head.mask.rotate_left(taken % 4);
        self.head = (head.remaining > 0).then_some(head);
        if head.remaining == 0 {
            Some(head)
        } else {
            None
        }
    }

    fn finish(&mut self, head: Head) -> Result<Option<Event>, Violation> {
        match head.opcode {
            Opcode::Ping => Ok(Some(Event::Ping(std::mem::take(&mut self.control).into()))),
            Opcode::Pong => {
                self.control = Vec::new();
                Ok(Some(Event::Pong))
            }
            Opcode::Close => close_answer(&std::mem::take(&mut self.control))
                .map(|code| Some(Event::Close(code))),
            _ if !head.is_final => Ok(None),
            _ => {
                let is_text = self.is_text.take();
                let message = Bytes::from(std::mem::take(&mut self.message));
                if is_text == Some(false) {
                    return Ok(Some(Event::Binary(message)));
                }
                Text::from_bytes(message)
                    .map(|text| Some(Event::Text(text)))
                    .ok_or(Violation::InvalidText)
            }
        }
    }
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The opcode, if the first two bytes may begin a client's frame.
fn opcode(first: u8, second: u8) -> Result<Opcode, Violation> {
    let opcode = match first & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return Err(Violation::Protocol),
    };
    let has_reserved_bits = first & 0x70 != 0;
    let is_masked = second & 0x80 != 0;
    let is_whole_and_short = first & 0x80 != 0 && usize::from(second & 0x7f) <= LONGEST_CONTROL;
    if has_reserved_bits || !is_masked || (opcode.is_control() && !is_whole_and_short) {
        return Err(Violation::Protocol);
    }
    Ok(opcode)
}

/// Makes room: all of a frame that is here, else twice what has arrived, never more than was announced.
fn reserve(target: &mut Vec<u8>, taken: usize, announced: usize) {
    if target.capacity() - target.len() < taken {
        target.reserve_exact(announced.min(taken.max(target.len())));
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The code that answers a close frame: the peer's own.
fn close_answer(payload: &[u8]) -> Result<u16, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(close_code::NORMAL)
        } else {
            Err(Violation::Protocol)
        };
    };
    let code = u16::from_be_bytes(*code);
    let is_allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !is_allowed {
        return Err(Violation::Protocol);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::InvalidText);
    }
    Ok(code)
}

#[cfg(test)]
mod tests;
