//! File descriptors: each connection is one, and the usual limit is a thousand. And files that hold a secret.

use std::path::Path;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
