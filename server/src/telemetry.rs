//! Log lines: text for a person at a terminal, JSON for machines, to standard error.

use std::io::IsTerminal;

use chatcluster_chat_api::LogLevel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Our own crates; those of others are heard only when they warn.
const OWN: &str = "chatcluster";

/// A subscriber was set before.
#[derive(Debug, thiserror::Error)]
#[error("cannot start logging")]
pub struct StartLogging(#[from] tracing_subscriber::util::TryInitError);

/// Starts logging at `level`. Once per process.
pub fn start(level: LogLevel) -> Result<(), StartLogging> {
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if is_terminal {
        lines.with_target(false).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    };
    Ok(tracing_subscriber::registry()
        .with(lines.with_filter(filter(level)))
        .try_init()?)
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_target(OWN, level)
        .with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_level_holds_for_our_crates_and_others_only_warn() {
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("chatcluster_server::history", &Level::DEBUG));
        assert!(!debug.would_enable("chatcluster_socketio", &Level::TRACE));
        assert!(!debug.would_enable("hyper", &Level::INFO));
        assert!(debug.would_enable("hyper", &Level::WARN));
        assert!(!filter(LogLevel::Error).would_enable("hyper", &Level::WARN));
    }
}
