//! The client's side of the wire: WebSocket frames (RFC 6455) and nothing else. Lean on purpose: the load client shares
//! two cores with the server that it measures, so a frame is built once and read in place.

use anyhow::{Result, bail, ensure};

/// The mask of every frame we send. A constant costs the server the same unmasking as a random one.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x8e];
const OPCODE_TEXT: u8 = 0x1;
const OPCODE_CLOSE: u8 = 0x8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Nothing a measured server sends is longer; a longer length means that we lost the frame boundary.
const MAX_FRAME_BYTES: usize = 1 << 20;

/// Appends one masked text frame that carries `payload`.
pub(crate) fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(FIN | OPCODE_TEXT);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => out.push(MASKED | length as u8),
        Ok(length) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

/// One masked text frame.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    push_text(&mut frame, payload.as_bytes());
    frame
}

/// Splits what a server sends into messages; holds at most the unfinished frame at the end of the last read.
#[derive(Default)]
pub(crate) struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Hands each complete text message in `bytes` to `each`.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.rest.is_empty() {
            let used = split(bytes, &mut each)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let used = split(&self.rest, &mut each)?;
            self.rest.drain(..used);
        }
        if self.rest.is_empty() {
            // Ten thousand idle connections keep no buffer each.
            self.rest = Vec::new();
        }
        Ok(())
    }
}

/// Reads whole frames from the start of `bytes`; returns how many bytes they took.
fn split(bytes: &[u8], each: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
    let mut at = 0;
    while let Some((header, length)) = header(&bytes[at..])? {
        let Some(payload) = bytes.get(at + header..at + header + length) else {
            break;
        };
        match bytes[at] {
            first if first == FIN | OPCODE_TEXT => each(payload)?,
            first if first == FIN | OPCODE_CLOSE => bail!("the server closed the WebSocket"),
            first => bail!("a frame that starts with {first:#x} is not expected here"),
        }
        at += header + length;
    }
    Ok(at)
}

/// Length of the header and of the payload of the frame at the start of `bytes`, if that much has arrived.
fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let (header, length) = match bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, 127, length @ ..] if length.len() >= 8 => {
            let length = length
                .iter()
                .take(8)
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            (10, usize::try_from(length)?)
        }
        [_, 126 | 127, ..] => return Ok(None),
        [_, length, ..] => (2, usize::from(*length)),
        _ => return Ok(None),
    };
    ensure!(
        length <= MAX_FRAME_BYTES,
        "a frame of {length} bytes is not expected here"
    );
    Ok(Some((header, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![FIN | OPCODE_TEXT];
        if payload.len() < 126 {
            frame.push(payload.len() as u8);
        } else if let Ok(length) = u16::try_from(payload.len()) {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        } else {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn messages_survive_any_split_of_the_stream() {
        let payloads = [
            vec![b'a'; 3],
            vec![],
            vec![b'b'; 125],
            vec![b'c'; 126],
            vec![b'd'; 70_000],
        ];
        let stream: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| server_frame(payload))
            .collect();
        for step in [1, 2, 3, 7, 100, 4096, stream.len()] {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in stream.chunks(step) {
                frames
                    .feed(part, |message| {
                        seen.push(message.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, payloads, "in steps of {step}");
            assert!(frames.rest.is_empty());
        }
    }

    #[test]
    fn a_frame_we_send_is_masked_and_has_its_length() {
        let frame = text("2probe");
        assert_eq!(frame[..2], [0x81, 0x80 | 6]);
        let open: Vec<u8> = frame[6..]
            .iter()
            .zip(frame[2..6].iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        assert_eq!(open, b"2probe");
        assert_eq!(text(&"x".repeat(126))[1..4], [0x80 | 126, 0, 126]);
    }

    #[test]
    fn a_close_frame_and_a_lost_boundary_are_errors() {
        assert!(Frames::default().feed(&[0x88, 0], |_| Ok(())).is_err());
        assert!(
            Frames::default()
                .feed(&[0x81, 127, 0, 0, 0, 0, 0xff, 0, 0, 0], |_| Ok(()))
                .is_err()
        );
    }
}
