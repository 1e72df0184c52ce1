//! What ends connections that are well: the user is warned, for each end is a reconnect of each client.

use std::time::Duration;

use super::dialect;
use crate::controller::validate;

/// Annotations that limit silence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// Those that users may set.
    pub(super) keys: &'static [&'static str],
    /// What a number without a unit counts.
    pub(super) unit: Duration,
}

/// What ends connections, in one word and in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cap {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What is known to end connections. The user's own setting first: it is nearest, and ends more.
pub(crate) fn cap(wish: &validate::Route) -> Option<Cap> {
    let dialect = dialect(wish.controller);
    let patience = dialect.patience();
    let needed = Duration::from_secs(u64::try_from(wish.heartbeat_seconds).unwrap_or_default());
    let short = patience.keys.iter().find_map(|key| {
        let value = wish.spec.annotations.get(*key)?;
        (duration(value, patience.unit)? < needed).then_some((*key, value))
    });
    if let Some((key, value)) = short {
        let message = format!(
            "`spec.ingress.annotations` ends silent connections too soon with '{key}: {value}': heartbeats need {} seconds; leave it out, or set more",
            needed.as_secs()
        );
        return Some(Cap {
            reason: "SilenceEndsConnections",
            message,
        });
    }
    dialect.cap().map(|message| Cap {
        reason: "ReloadEndsConnections",
        message: message.to_owned(),
    })
}

/// A number with a unit, as HAProxy and nginx write it; `None` for what is none, which its controller will say.
fn duration(text: &str, bare: Duration) -> Option<Duration> {
    let text = text.trim();
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let count: u32 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" => bare,
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" => Duration::from_secs(86_400),
        _ => return None,
    };
    unit.checked_mul(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_the_unit_of_their_controller() {
        let second = Duration::from_secs(1);
        let milli = Duration::from_millis(1);
        for (text, bare, expected) in [
            ("60", second, Some(60_000)),
            ("60", milli, Some(60)),
            ("5s", milli, Some(5000)),
            ("2m", second, Some(120_000)),
            ("1h", second, Some(3_600_000)),
            ("soon", second, None),
            ("5 s", second, None),
            ("4294967295d", second, Some(371_085_174_288_000_000)),
            ("4294967296", second, None),
        ] {
            let read = duration(text, bare).map(|read| read.as_millis());
            assert_eq!(read, expected, "{text}");
        }
    }
}
