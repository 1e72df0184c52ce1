//! The log's stream: made with the settings that were asked for, and never changed when it is there already.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use chatcluster_socketio::log::{MAX_POSITION, position_by_clock};
use tokio::time::timeout;

use crate::names::Names;
use crate::options::Options;
use crate::position::{last_of, sequence_of};

/// How long the server may take to answer about a stream.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long JetStream knows the id of a message: longer than a publish is tried, as short as memory wants it (245 bytes an
/// id).
const DEDUP_WINDOW: Duration = Duration::from_secs(30);

/// The log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It could not be made.
    #[error("make the stream {stream}")]
    Create {
        /// Its name.
        stream: String,
        /// What the server said.
        #[source]
        source: jetstream::context::CreateStreamError,
    },
    /// It could not be asked about.
    #[error("ask about the stream {stream} (is JetStream on?)")]
    Ask {
        /// Its name.
        stream: String,
        /// What the server said.
        #[source]
        source: jetstream::context::GetStreamError,
    },
    /// The server did not answer; without permission it does not answer either.
    #[error(
        "no answer about the stream {stream} within {DEADLINE:?}: is JetStream on, and are the permissions complete?"
    )]
    NoAnswer {
        /// Its name.
        stream: String,
    },
    /// Its sequences are not those of a log of this form.
    #[error(
        "the stream {stream} has sequences up to {last}, which are none of a ChatCluster's log: use another prefix, or delete the stream"
    )]
    Sequences {
        /// Its name.
        stream: String,
        /// The last one.
        last: u64,
    },
    /// It is there with other settings. Two clusters may have one prefix, or the configuration was changed.
    #[error(
        "the stream {stream} is there with {setting} = {found}, and {wanted} is configured; it was left as it is: use another prefix, or change the stream yourself"
    )]
    OtherSetting {
        /// Its name.
        stream: String,
        /// The setting.
        setting: &'static str,
        /// What the stream has.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
}

/// The stream that the options describe.
fn config(names: &Names, options: &Options) -> Config {
    Config {
        name: names.stream(),
        description: Some(
            "The log of a ChatCluster: an event's position is 64 times the sequence, and its place"
                .to_owned(),
        ),
        subjects: vec![names.log()],
        storage: options.storage,
        num_replicas: options.replicas,
        max_age: options.retention,
        max_bytes: options
            .retention_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        discard: DiscardPolicy::Old,
        duplicate_window: dedup_window(options.retention),
        allow_direct: true,
        first_sequence: Some(first_sequence()),
        ..Config::default()
    }
}

/// Where a new log begins: its positions are those of now, above whatever an earlier one gave out that had less than 15,625
/// messages a second (semantics 9). If it had more, its epoch tells them apart.
pub(crate) fn first_sequence() -> u64 {
    sequence_of(position_by_clock()) + 1
}

/// JetStream refuses a window longer than the retention; without retention there is none.
fn dedup_window(retention: Duration) -> Duration {
    if retention.is_zero() {
        return DEDUP_WINDOW;
    }
    DEDUP_WINDOW.min(retention)
}

/// Makes the stream if it is not there, and looks whether it is the one that was asked for.
pub(crate) async fn ensure(
    jetstream: &jetstream::Context,
    names: &Names,
    options: &Options,
) -> Result<Info, StreamError> {
    let wanted = config(names, options);
    if let Some(found) = info(jetstream, names).await? {
        compare(&found.config, &wanted)?;
        judge(&found.config.name, found.state.last_sequence)?;
        return Ok(found);
    }
    let created = timeout(DEADLINE, jetstream.create_stream(wanted.clone())).await;
    let stream = names.stream();
    match created {
        Err(_) => Err(StreamError::NoAnswer { stream }),
        Ok(Ok(made)) => Ok(made.cached_info().clone()),
        Ok(Err(error)) if is_there_already(&error) => {
            // Another pod was faster, with the first position that *it* read off the clock.
            let found = info(jetstream, names).await?;
            let found = found.ok_or(StreamError::Create {
                stream,
                source: error,
            })?;
            compare(&found.config, &wanted)?;
            Ok(found)
        }
        Ok(Err(source)) => Err(StreamError::Create { stream, source }),
    }
}

/// Whether positions are numbers that every client can hold: else they would be another event's to some.
fn judge(stream: &str, last: u64) -> Result<(), StreamError> {
    if last_of(last) <= MAX_POSITION {
        return Ok(());
    }
    Err(StreamError::Sequences {
        stream: stream.to_owned(),
        last,
    })
}

fn is_there_already(error: &jetstream::context::CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// What the server says of the stream; `None` if there is none.
pub(crate) async fn info(
    jetstream: &jetstream::Context,
    names: &Names,
) -> Result<Option<Info>, StreamError> {
    let stream = names.stream();
    match timeout(DEADLINE, jetstream.get_stream(&stream)).await {
        Err(_) => Err(StreamError::NoAnswer { stream }),
        Ok(Ok(found)) => Ok(Some(found.cached_info().clone())),
        Ok(Err(error)) => match error.kind() {
            GetStreamErrorKind::JetStream(code)
                if code.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(StreamError::Ask {
                stream,
                source: error,
            }),
        },
    }
}

fn compare(found: &Config, wanted: &Config) -> Result<(), StreamError> {
    let storage = |storage: StorageType| format!("{storage:?}").to_lowercase();
    let settings = [
        (
            "subjects",
            found.subjects.join(" "),
            wanted.subjects.join(" "),
        ),
        ("storage", storage(found.storage), storage(wanted.storage)),
        (
            "replicas",
            found.num_replicas.to_string(),
            wanted.num_replicas.to_string(),
        ),
        (
            "retention",
            format!("{:?}", found.max_age),
            format!("{:?}", wanted.max_age),
        ),
        (
            "retentionBytes",
            found.max_bytes.to_string(),
            wanted.max_bytes.to_string(),
        ),
    ];
    for (setting, found_value, wanted_value) in settings {
        if found_value != wanted_value {
            return Err(StreamError::OtherSetting {
                stream: found.name.clone(),
                setting,
                found: found_value,
                wanted: wanted_value,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The setting that the error names, if a stream made with `made` is found by a node with `now`.
    fn named(made: &Options, now: &Options) -> Option<&'static str> {
        let names = |options: &Options| Names::new(&options.prefix).unwrap();
        let [found, wanted] = [made, now].map(|options| config(&names(options), options));
        match compare(&found, &wanted) {
            Err(StreamError::OtherSetting { setting, .. }) => Some(setting),
            _ => None,
        }
    }

    #[test]
    fn a_log_whose_positions_clients_cannot_hold_is_refused() {
        assert!(judge("s", first_sequence()).is_ok());
        // As sequences were when they were positions.
        let refused = judge("s", position_by_clock()).unwrap_err();
        assert!(refused.to_string().contains("the stream s"), "{refused}");
    }

    #[test]
    fn a_setting_that_is_another_one_is_named() {
        let usual = Options::new("nats://a", "a.b");
        let replicas = Options {
            replicas: 3,
            ..usual.clone()
        };
        let unlimited = Options {
            retention: Duration::ZERO,
            ..usual.clone()
        };
        assert_eq!(named(&usual, &usual), None);
        assert_eq!(named(&usual, &replicas), Some("replicas"));
        assert_eq!(named(&unlimited, &usual), Some("retention"));
    }
}
