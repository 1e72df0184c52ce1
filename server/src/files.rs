//! File descriptors: each connection is one, and the usual limit is a thousand. And files that hold a secret.

mod watched;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use watched::{Watched, hash};

/// More is not read: no configuration, key or list of tokens is as long.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Files that the process has open beside its connections: the history, listeners, the runtime's own.
const OTHERS: u64 = 64;

/// Raises the limit of open files as far as the system allows, and says so if that is too little for the connections
/// that the configuration allows. Returns the limit; `None` is none.
pub(crate) fn raise_limit(connections: usize) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    let limit = getrlimit(Resource::Nofile).current?;
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    if limit < wanted {
        tracing::warn!(
            files = limit,
            limits.connections = connections,
            "fewer files may be open than connections are allowed: raise the limit (ulimit -n), or lower limits.connections"
        );
    }
    Some(limit)
}

/// What a file holds cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system says why.
    #[error("{field}: cannot read {}", path.display())]
    Read {
        /// The field that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is none of the files that belong there.
    #[error("{field}: {} is larger than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The field that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// What the file that a field names holds.
pub(crate) fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content));
    let path = path.to_owned();
    read.map_err(|source| ReadError::Read {
        field,
        path: path.clone(),
        source,
    })?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge { field, path });
    }
    Ok(content)
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A secret's text; one newline at the end is not part of it.
pub(crate) fn secret(field: &str, path: &Path) -> anyhow::Result<String> {
    let read = std::fs::read_to_string(path);
    let text = read.with_context(|| format!("{field}: cannot read {}", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    anyhow::ensure!(!text.is_empty(), "{field}: {} is empty", path.display());
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_the_system_allows() {
        let limit = raise_limit(1);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(limit, maximum);
    }

    #[test]
    fn a_secret_is_the_file_without_its_last_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for text in ["hush", "hush\n", "hush\r\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(secret("nats.tokenFile", &path).unwrap(), "hush");
        }
        std::fs::write(&path, "\n").unwrap();
        let error = secret("nats.tokenFile", &path).unwrap_err().to_string();
        assert!(error.starts_with("nats.tokenFile: "), "{error}");
        assert!(secret("nats.tokenFile", Path::new("/nowhere")).is_err());
    }
}
