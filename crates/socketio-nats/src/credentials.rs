//! Who a node is to NATS, read anew for each connection: a password, a token or a credentials file that was exchanged counts
//! when the next connection is made. What cannot be read then is what was read last.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use parking_lot::Mutex;

use crate::connection::ConnectionError;
use crate::options::Credentials;

/// Reads credentials for connections.
pub(crate) struct Reader {
    credentials: Credentials,
    last: Mutex<Last>,
}

struct Last {
    known: Known,
    /// Why it could not be read again, as far as that was told.
    problem: Option<String>,
}

/// What is said to NATS.
#[derive(Clone)]
enum Known {
    User { name: String, password: String },
    Token(String),
    Key { jwt: String, seed: String },
}

impl Reader {
    /// Reads them for the first time; `None` for a node that is nobody in particular.
    pub(crate) fn open(credentials: &Credentials) -> Result<Option<Arc<Self>>, ConnectionError> {
        let Some(known) = read(credentials)? else {
            return Ok(None);
        };
        let problem = None;
        Ok(Some(Arc::new(Self {
            credentials: credentials.clone(),
            last: Mutex::new(Last { known, problem }),
        })))
    }

    /// For the connection that is being made, in which NATS asks to have this signed.
    pub(crate) async fn auth(self: Arc<Self>, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        let reading = tokio::task::spawn_blocking(move || self.again());
        reading.await.map_err(AuthError::new)?.auth(&nonce)
    }

    fn again(&self) -> Known {
        let read = read(&self.credentials);
        let mut last = self.last.lock();
        match read {
            Ok(known) => {
                last.problem = None;
                if let Some(known) = known {
                    last.known = known;
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let problem = format!("{error}: {}", cause.unwrap_or_default());
                if last.problem.as_ref() != Some(&problem) {
                    tracing::error!(
                        problem,
                        "NATS is told the credentials that were read before"
                    );
                    last.problem = Some(problem);
                }
            }
        }
        last.known.clone()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?})", self.credentials)
    }
}

impl Known {
    fn auth(self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::User { name, password } => {
                (auth.username, auth.password) = (Some(name), Some(password));
            }
            Self::Token(token) => auth.token = Some(token),
            Self::Key { jwt, seed } => {
                let signed = KeyPair::from_seed(&seed).and_then(|key| key.sign(nonce));
                auth.signature = Some(signed.map_err(AuthError::new)?);
                auth.jwt = Some(jwt);
            }
        }
        Ok(auth)
    }
}

fn read(credentials: &Credentials) -> Result<Option<Known>, ConnectionError> {
    Ok(Some(match credentials {
        Credentials::None => return Ok(None),
        Credentials::User { name, password } => Known::User {
            name: name.clone(),
            password: password.clone(),
        },
        Credentials::Token(token) => Known::Token(token.clone()),
        Credentials::UserFile { name, file } => Known::User {
            name: name.clone(),
            password: of(file, secret)?,
        },
        Credentials::TokenFile(file) => Known::Token(of(file, secret)?),
        Credentials::File(file) => of(file, key)?,
    }))
}

/// What is in a file, which the error names.
fn of<T>(
    file: &Path,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<T, ConnectionError> {
    let invalid = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let text = std::fs::read_to_string(file);
    let read = text.and_then(|text| read(&text).map_err(invalid));
    read.map_err(|source| ConnectionError::ReadCredentials {
        path: file.display().to_string(),
        source,
    })
}

/// One newline at the end is not part of it.
fn secret(text: &str) -> Result<String, &'static str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("it is empty");
    }
    Ok(text.to_owned())
}

/// A JWT and a seed, each between a line that begins it and one that ends it.
fn key(text: &str) -> Result<Known, &'static str> {
    let block = |name: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| {
            line.starts_with("---") && line.ends_with(&format!("BEGIN {name}-----"))
        })?;
        lines.find(|line| !line.is_empty()).map(str::to_owned)
    };
    let jwt = block("NATS USER JWT").ok_or("no user JWT is in it")?;
    let seed = block("USER NKEY SEED").ok_or("no NKey seed is in it")?;
    // The library's own error would do, but is not told to show nothing.
    KeyPair::from_seed(&seed).map_err(|_| "its NKey seed cannot be used")?;
    Ok(Known::Key { jwt, seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(reader: &Arc<Reader>) -> Option<String> {
        reader.again().auth(b"").unwrap().password
    }

    #[test]
    fn a_password_is_read_for_each_connection_and_the_last_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "one\n").unwrap();
        let name = "chat".to_owned();
        let credentials = Credentials::UserFile {
            name,
            file: file.clone(),
        };
        let reader = Reader::open(&credentials).unwrap().unwrap();
        assert_eq!(password(&reader).as_deref(), Some("one"));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(password(&reader).as_deref(), Some("two"));
        for broken in [Some("\n"), None] {
            match broken {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            assert_eq!(password(&reader).as_deref(), Some("two"));
        }
        assert!(!format!("{reader:?}").contains("two"));
    }

    #[test]
    fn a_credentials_file_signs_what_nats_asks_and_a_broken_one_is_named() {
        let pair = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\nthe.jwt.itself\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            pair.seed().unwrap()
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chat.creds");
        std::fs::write(&file, &text).unwrap();
        let reader = Reader::open(&Credentials::File(file.clone()))
            .unwrap()
            .unwrap();
        let auth = reader.again().auth(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("the.jwt.itself"));
        pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        for broken in [
            "",
            "the.jwt.itself",
            &text.replace("SEED-----\nS", "SEED-----\nX"),
        ] {
            std::fs::write(&file, broken).unwrap();
            let error = Reader::open(&Credentials::File(file.clone())).unwrap_err();
            assert!(error.to_string().contains("chat.creds"), "{error}");
        }
    }
}
