//! What is known of the files that are read again, for `/config` and for metrics. Of secrets it says neither content nor hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelValue;
use serde::Serialize;

use crate::files;
use crate::metrics::scrape::Sample;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// The server's configuration.
    Config,
    /// The keys of tokens.
    Keys,
    /// The tokens of backends.
    ApiTokens,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It counts.
    Loaded,
    /// It cannot be used.
    Refused,
}

/// What is told: what counts, and what does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    config: Config,
    files: Vec<Other>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    /// Where it is; none without `--config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The hash of the file that counts.
    hash: String,
    /// Fields of that file that differ from what the server runs with, and count at its next start.
    at_next_start: Vec<String>,
    /// Why the file does not count as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Other {
    name: &'static str,
    #[serde(skip)]
    file: File,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The report, as it is now.
#[derive(Debug)]
pub struct Status(Mutex<Report>);

impl File {
    /// In metrics, log lines and `/config`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Keys => "keys",
            Self::ApiTokens => "api_tokens",
        }
    }

    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Config, Self::Keys, Self::ApiTokens];
}

impl Outcome {
    pub(crate) const ALL: [Self; 2] = [Self::Loaded, Self::Refused];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Refused => "refused",
        }
    }
}

macro_rules! label {
    ($($kind:ty),*) => {$(
        impl EncodeLabelValue for $kind {
            fn encode(
                &self,
                encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
            ) -> std::fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )*};
}

label!(File, Outcome);

impl Status {
    /// As the server starts, with this configuration and these other files.
    #[must_use]
    pub fn new(
        path: Option<&Path>,
        content: &[u8],
        files: impl Iterator<Item = File>,
    ) -> Arc<Self> {
        let config = Config {
            file: path.map(Path::to_owned),
            hash: short_hash(content),
            at_next_start: Vec::new(),
            problem: None,
        };
        Arc::new(Self(Mutex::new(Report {
            config,
            files: files.map(other).collect(),
        })))
    }

    /// A copy.
    #[must_use]
    pub fn report(&self) -> Report {
        self.0.lock().clone()
    }

    /// Whether what is in each file cannot be used.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let report = self.report();
        let refused = |file: File| u64::from(report.problem(file).is_some());
        let help = "1 while what is in a file cannot be used, and what was loaded before counts";
        vec![
            Sample::gauge("reload_refused", help, refused(File::Config))
                .labelled("file", File::Config.as_str())
                .and(File::Keys.as_str(), refused(File::Keys))
                .and(File::ApiTokens.as_str(), refused(File::ApiTokens)),
        ]
    }

    /// The configuration names a file of this kind, or does not any more.
    pub(super) fn names(&self, file: File, is_named: bool) {
        let files = &mut self.0.lock().files;
        files.retain(|other| other.file != file);
        if is_named {
            files.insert(0, other(file));
        }
    }

    pub(super) fn loaded_config(&self, content: &[u8], at_next_start: Vec<String>) {
        let config = &mut self.0.lock().config;
        config.hash = short_hash(content);
        config.at_next_start = at_next_start;
    }

    pub(super) fn took(&self, file: File) {
        if let Some(problem) = self.0.lock().problem_mut(file) {
            *problem = None;
        }
    }

    /// Whether this was not known yet.
    pub(super) fn refused(&self, file: File, problem: &str) -> bool {
        match self.0.lock().problem_mut(file) {
            Some(known) if known.as_deref() != Some(problem) => {
                *known = Some(problem.to_owned());
                true
            }
            _ => false,
        }
    }
}

impl Report {
    fn problem(&self, file: File) -> Option<&str> {
        if file == File::Config {
            return self.config.problem.as_deref();
        }
        let other = self.files.iter().find(|other| other.file == file)?;
        other.problem.as_deref()
    }

    fn problem_mut(&mut self, file: File) -> Option<&mut Option<String>> {
        if file == File::Config {
            return Some(&mut self.config.problem);
        }
        let other = self.files.iter_mut().find(|other| other.file == file)?;
        Some(&mut other.problem)
    }
}

fn other(file: File) -> Other {
    Other {
        name: file.as_str(),
        file,
        problem: None,
    }
}

/// 16 hexadecimal digits of SHA-256: the operator names a configuration so, too.
fn short_hash(content: &[u8]) -> String {
    files::hash(content)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
