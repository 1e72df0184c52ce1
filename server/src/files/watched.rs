//! A file that is looked at again and again: what it holds is compared, not when or how it was written. Kubernetes exchanges
//! the files of a Secret or ConfigMap by one symbolic link; an editor writes a new file, or into the old one.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ReadError;

/// The hash of what a file holds.
pub(crate) type Hash = [u8; 32];

/// One file, and what is known to be in it.
#[derive(Debug)]
pub(crate) struct Watched {
    field: &'static str,
    path: PathBuf,
    seen: State,
    /// What the last look found, if that was new.
    fresh: Option<State>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Holds(Hash),
    Unreadable(String),
}

impl Watched {
    /// The file that the field names, with what was read from it.
    pub(crate) fn new(field: &'static str, path: &Path, content: &[u8]) -> Self {
        Self {
            field,
            path: path.to_owned(),
            seen: State::Holds(hash(content)),
            fresh: None,
        }
    }

    /// What it holds now, or why it cannot be read, if that is not what was found before. Told at the second look that
    /// finds the same, so that a file which is being written is not read in the middle. Blocks.
    pub(crate) fn look(&mut self) -> Option<Result<Vec<u8>, ReadError>> {
        let read = super::read(self.field, &self.path);
        let found = match &read {
            Ok(content) => State::Holds(hash(content)),
            Err(error) => State::Unreadable(super::chain(error)),
        };
        if found == self.seen {
            self.fresh = None;
            return None;
        }
        if self.fresh.as_ref() != Some(&found) {
            self.fresh = Some(found);
            return None;
        }
        (self.seen, self.fresh) = (found, None);
        Some(read)
    }
}

/// Of what a file holds.
pub(crate) fn hash(content: &[u8]) -> Hash {
    Sha256::digest(content).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(look: Option<Result<Vec<u8>, ReadError>>) -> Option<String> {
        look.map(|read| String::from_utf8(read.unwrap()).unwrap())
    }

    #[test]
    fn what_changed_is_told_once_it_was_found_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one").unwrap();
        let mut watched = Watched::new("auth.jwt.keyFile", &path, b"one");
        assert_eq!(content(watched.look()), None);
        std::fs::write(&path, "tw").unwrap();
        assert_eq!(content(watched.look()), None);
        std::fs::write(&path, "two").unwrap();
        assert_eq!(content(watched.look()), None, "it was being written");
        assert_eq!(content(watched.look()), Some("two".to_owned()));
        assert_eq!(content(watched.look()), None);
    }

    #[test]
    fn a_link_that_is_swapped_is_a_change_and_a_file_that_is_gone_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        for name in ["old", "new"] {
            std::fs::create_dir(here(name)).unwrap();
            std::fs::write(here(name).join("key"), name).unwrap();
        }
        // As Kubernetes lays out a volume.
        std::os::unix::fs::symlink("old", here("..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", here("key")).unwrap();
        let mut watched = Watched::new("auth.jwt.keyFile", &here("key"), b"old");
        std::os::unix::fs::symlink("new", here("..tmp")).unwrap();
        std::fs::rename(here("..tmp"), here("..data")).unwrap();
        assert_eq!(content(watched.look()), None);
        assert_eq!(content(watched.look()), Some("new".to_owned()));

        std::fs::remove_file(here("..data")).unwrap();
        assert!(watched.look().is_none());
        let error = watched.look().unwrap().unwrap_err().to_string();
        assert!(
            error.starts_with("auth.jwt.keyFile: cannot read "),
            "{error}"
        );
        assert!(watched.look().is_none());
    }
}
