//! Who may use the API: holders of a token from a file. No token is kept, shown or compared: only what it hashes to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;
use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::files::{self, Watched};

const CHARACTERS: std::ops::RangeInclusive<usize> = 32..=512;
const MOST: usize = 64;
const FIELD: &str = "api.tokenFile";

/// The tokens that count now. Cheap to clone; clones are the same tokens.
#[derive(Clone, Debug)]
pub(crate) struct SharedTokens {
    path: PathBuf,
    tokens: Arc<ArcSwap<Tokens>>,
}

impl SharedTokens {
    /// Reads the file, which is to be watched then.
    pub(super) fn load(path: &Path) -> anyhow::Result<(Self, Watched)> {
        let content = files::read(FIELD, path)?;
        let shared = Self {
            path: path.to_owned(),
            tokens: Arc::new(ArcSwap::from_pointee(Tokens::read(path, &content)?)),
        };
        Ok((shared, Watched::new(FIELD, path, &content)))
    }

    /// From now on the tokens in `content` count, if all of them are good.
    pub(crate) fn take(&self, content: &[u8]) -> anyhow::Result<()> {
        let tokens = Tokens::read(&self.path, content)?;
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// Whether this is one of them. Takes the same time for every token of a length.
    pub(super) fn have(&self, token: &[u8]) -> bool {
        self.tokens.load().have(token)
    }
}

/// The hashes of the tokens.
struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// Reads one token a line; empty lines do not count.
    fn read(path: &Path, text: &[u8]) -> anyhow::Result<Self> {
        let shown = path.display();
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

    fn have(&self, token: &[u8]) -> bool {
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

    fn load(text: &str) -> anyhow::Result<SharedTokens> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        SharedTokens::load(&path).map(|(tokens, _)| tokens)
    }

    #[test]
    fn other_tokens_count_at_once_if_all_are_good() {
        let tokens = load(A).unwrap();
        let other = tokens.clone();
        tokens.take(format!("{B}\nshort").as_bytes()).unwrap_err();
        assert!(other.have(A.as_bytes()) && !other.have(B.as_bytes()));
        tokens.take(B.as_bytes()).unwrap();
        assert!(other.have(B.as_bytes()) && !other.have(A.as_bytes()));
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
        let error = SharedTokens::load(Path::new("/nowhere/tokens")).unwrap_err();
        assert!(format!("{error:#}").starts_with("api.tokenFile: cannot read "));
    }

    #[test]
    fn tokens_are_not_shown() {
        let shown = format!("{:?}", load(A).unwrap());
        assert!(
            shown.contains("Tokens(1)") && !shown.contains("aaaa"),
            "{shown}"
        );
    }
}
