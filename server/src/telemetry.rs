//! Log lines: text for a person at a terminal, JSON for machines, to standard error.

use std::io::IsTerminal;
use std::sync::OnceLock;

use chatcluster_chat_api::LogLevel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// Our own crates; those of others are heard only when they warn.
const OWN: &str = "chatcluster";

/// What is heard now; the process has one log.
static HEARD: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

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
    let (heard, handle) = reload::Layer::new(filter(level));
    tracing_subscriber::registry()
        .with(lines.with_filter(heard))
        .try_init()?;
    HEARD.get_or_init(|| handle);
    Ok(())
}

/// Logs at another level from now on, if logging was started.
pub(crate) fn set_level(level: LogLevel) {
    // It fails only when the subscriber is gone.
    if let Some(Err(error)) = HEARD.get().map(|heard| heard.reload(filter(level))) {
        tracing::error!(%error, "change the log level");
    }
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
