//! Files that are read again while the server runs: its configuration, the keys of tokens, the tokens of backends.
//!
//! They are looked at every second. What cannot be used is told once and leaves what counts as it is; what can be used
//! counts from then on, and nobody is disconnected. [`Report`] says what counts, at `/config`.

mod report;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::auth::{self, Authenticator};
use crate::backend::SharedTokens;
use crate::files::{self, ReadError, Watched};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::settings::Source;

pub use report::{File, Outcome, Report, Status};

/// Between two looks. A change counts at the second one that finds it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks at the files, and changes what counts.
pub struct Reload {
    source: Source,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    config: Option<Watched>,
    /// A configuration that cannot be used yet, because of the keys that it names.
    held_back: Option<Vec<u8>>,
    keys: Option<Watched>,
    tokens: Option<(Watched, SharedTokens)>,
}

impl Reload {
    /// What was read at start. `keys` is the file of the authenticator that counts.
    pub(crate) fn new(
        source: Source,
        keys: Option<Watched>,
        tokens: Option<(Watched, SharedTokens)>,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let files = [
            keys.is_some().then_some(File::Keys),
            tokens.is_some().then_some(File::ApiTokens),
        ];
        let status = Status::new(source.path(), source.content(), files.into_iter().flatten());
        metrics.add_reloads(&status);
        Self {
            config: source.watched(),
            source,
            live,
            metrics,
            status,
            held_back: None,
            keys,
            tokens,
        }
    }

    /// What is told about it.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Looks for ever.
    pub async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Reading blocks, and so does what a key is checked with.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(back) => self = back,
                Err(error) => {
                    tracing::error!(%error, "files are not looked at any more: restart the server");
                    return;
                }
            }
        }
    }

    fn look(&mut self) {
        self.look_at_config();
        self.look_at_keys();
        self.look_at_tokens();
    }

    fn look_at_config(&mut self) {
        match self.config.as_mut().and_then(Watched::look) {
            Some(Ok(content)) => self.held_back = Some(content),
            Some(Err(error)) => {
                self.held_back = None;
                self.refuse(File::Config, &files::chain(&error));
            }
            None => {}
        }
        let Some(content) = self.held_back.take() else {
            return;
        };
        match self.take_config(&content) {
            Ok(()) => {}
            Err(Refused::ForNow(problem)) => {
                // The file that it names may come later than it does.
                self.held_back = Some(content);
                self.refuse(File::Config, &problem);
            }
            Err(Refused::AsItIs(problem)) => self.refuse(File::Config, &problem),
        }
    }

    fn take_config(&mut self, content: &[u8]) -> Result<(), Refused> {
        let next = self.source.read_again(content).map_err(Refused::AsItIs)?;
        let keys = if next.config.auth == self.source.config().auth {
            None
        } else {
            let loaded = Authenticator::load(&next.config.auth);
            Some(loaded.map_err(|error| Refused::ForNow(files::chain(&error)))?)
        };
        let (authenticator, watched) = keys.unzip();
        self.live.take(&next.config, authenticator);
        if let Some(watched) = watched {
            self.status.names(File::Keys, watched.is_some());
            self.keys = watched;
        }
        if !next.at_next_start.is_empty() {
            let fields = next.at_next_start.join(", ");
            tracing::warn!(fields, "these fields count at the next start of the server");
        }
        self.status
            .loaded_config(content, next.at_next_start.clone());
        self.source.took(content, next);
        self.took(File::Config);
        Ok(())
    }

    fn look_at_keys(&mut self) {
        let Some(look) = self.keys.as_mut().and_then(Watched::look) else {
            return;
        };
        let auth = &self.source.config().auth;
        let read = look
            .map_err(|error| files::chain(&error))
            .and_then(|content| {
                let keys = Authenticator::with_keys(auth, &content);
                keys.map_err(|bad| auth::bad_key(auth, bad).to_string())
            });
        match read {
            Ok(authenticator) => {
                self.live.take_keys(authenticator);
                self.took(File::Keys);
            }
            Err(problem) => self.refuse(File::Keys, &problem),
        }
    }

    fn look_at_tokens(&mut self) {
        let Some((watched, tokens)) = &mut self.tokens else {
            return;
        };
        let Some(look) = watched.look() else { return };
        let read = look
            .map_err(|error: ReadError| files::chain(&error))
            .and_then(|content| tokens.take(&content).map_err(|error| error.to_string()));
        match read {
            Ok(()) => self.took(File::ApiTokens),
            Err(problem) => self.refuse(File::ApiTokens, &problem),
        }
    }

    fn took(&self, file: File) {
        self.status.took(file);
        self.metrics.count_reload(file, Outcome::Loaded);
        tracing::info!(file = file.as_str(), "a changed file counts from now on");
    }

    /// Told once for each problem.
    fn refuse(&self, file: File, problem: &str) {
        if self.status.refused(file, problem) {
            self.metrics.count_reload(file, Outcome::Refused);
            tracing::error!(
                file = file.as_str(),
                problem,
                "a changed file cannot be used; what was loaded before still counts"
            );
        }
    }
}

/// Why a configuration does not count.
enum Refused {
    /// It would, if a file that it names could be used.
    ForNow(String),
    /// It has to be changed.
    AsItIs(String),
}

#[cfg(test)]
mod tests;
