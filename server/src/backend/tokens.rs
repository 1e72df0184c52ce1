//! Who may use the API: holders of a token from a file. No token is kept, shown or compared: only what it hashes to.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

const CHARACTERS: std::ops::RangeInclusive<usize> = 32..=512;
const MOST: usize = 64;
/// More is not read: no file of tokens is as long.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The hashes of the tokens.
pub(super) struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads one token a line; empty lines do not count.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut text = Vec::new();
        let file = File::open(path);
        let read = file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
        read.with_context(|| format!("api.tokenFile: cannot read {shown}"))?;
        ensure!(
            text.len() as u64 <= MAX_FILE_BYTES,
            "api.tokenFile: {shown} is larger than {MAX_FILE_BYTES} bytes"
        );
        let mut hashes = Vec::new();
        for (line, token) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let token = token.strip_suffix(b"\r").unwrap_or(token);
            if token.is_empty() {
                continue;
            }
            let is_good =
                CHARACTERS.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
            ensure!(
                is_good,
                "api.tokenFile: line {line} of {shown} is no token: {} to {} characters of visible ASCII, no spaces",
                CHARACTERS.start(),
                CHARACTERS.end()
            );
            hashes.push(hash(token));
        }
        ensure!(!hashes.is_empty(), "api.tokenFile: {shown} holds no token");
        ensure!(
            hashes.len() <= MOST,
            "api.tokenFile: {shown} holds more than {MOST} tokens"
        );
        Ok(Self(hashes))
    }

    /// Whether this is one of them. Takes the same time for every token of a length.
    pub(super) fn have(&self, token: &[u8]) -> bool {
        if token.len() > *CHARACTERS.end() {
            return false;
        }
        let given = hash(token);
        // Not `any`, which would stop at the first.
        let known = self.0.iter().map(|known| known.ct_eq(&given));
        known
            .fold(Choice::from(0), |found, is_it| found | is_it)
            .into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn load(text: &str) -> anyhow::Result<Tokens> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        Tokens::load(&path)
    }

    #[test]
    fn each_line_is_a_token() {
        let tokens = load(&format!("{A}\r\n\n{B}")).unwrap();
        assert!(tokens.have(A.as_bytes()) && tokens.have(B.as_bytes()));
        for other in ["", &A[1..], &format!("{A}a"), &"a".repeat(100_000)] {
            assert!(!tokens.have(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_without_showing_it() {
        let short = &A[..31];
        let files = [
            String::new(),
            "\n\n".to_owned(),
            format!("{B}\n{short}"),
            format!("{B}\n{A} {A}"),
            format!("{B}\n{}", "ä".repeat(40)),
            format!("{B}\n{}", "a".repeat(513)),
            format!("{B}\n").repeat(65),
        ];
        for text in files {
            let error = format!("{:?}", load(&text).unwrap_err());
            assert!(error.starts_with("api.tokenFile: "), "{error}");
            assert!(
                !error.contains("aaaa") && !error.contains("bbbb"),
                "{error}"
            );
        }
        let error = Tokens::load(Path::new("/nowhere/tokens")).unwrap_err();
        assert!(format!("{error:#}").starts_with("api.tokenFile: cannot read "));
    }

    #[test]
    fn tokens_are_not_shown() {
        assert_eq!(format!("{:?}", load(A).unwrap()), "Tokens(1)");
    }
}
