//! Log lines: text for a person at a terminal, JSON for machines, to standard error.

use std::io::IsTerminal as _;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Our own crates; those of others are heard only when they warn.
const OWN: &str = "chatcluster";

/// A subscriber was set before.
#[derive(Debug, thiserror::Error)]
#[error("cannot start logging")]
pub struct StartLogging(#[from] tracing_subscriber::util::TryInitError);

/// Starts logging at `level`. Once per process.
///
/// # Errors
/// It was started before.
pub fn start(level: Level) -> Result<(), StartLogging> {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.with_target(false).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    let level = LevelFilter::from_level(level);
    let heard = Targets::new()
        .with_target(OWN, level)
        .with_default(level.min(LevelFilter::WARN));
    Ok(tracing_subscriber::registry()
        .with(lines.with_filter(heard))
        .try_init()?)
}
