//! The control frames that the server sends: pong and close.

use bytes::Bytes;

const FIN_CLOSE: u8 = 0x88;
const FIN_PONG: u8 = 0x8a;

/// A pong with the ping's payload, of at most 125 bytes.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(FIN_PONG, payload)
}

/// A close frame.
pub(super) fn close(code: u16) -> Bytes {
    frame(FIN_CLOSE, &code.to_be_bytes())
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let length = u8::try_from(payload.len()).expect("control frames hold at most 125 bytes");
    let mut wire = Vec::with_capacity(2 + payload.len());
    wire.extend_from_slice(&[first, length]);
    wire.extend_from_slice(payload);
    wire.into()
}
