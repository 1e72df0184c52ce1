//! [`ServerConfig`] to [`Config`]: ranges, and rules between fields.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use crate::{
    Config, Cors, CorsSection, Drain, DurationText, Engine, History, Limits, Nodes, Origins,
    Problem, Problems, Recovery, ServerConfig, Transport, api::api, auth::auth, nats::nats,
    relay::relay,
};

/// Slack of the span that the log must keep (`semantics.md` rule 6).
const RETENTION_SLACK: Duration = Duration::from_secs(10);
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);
const MAX_BYTES: u64 = 1 << 40;

impl ServerConfig {
    /// Checks every rule and reports all that do not hold.
    pub fn validate(&self) -> Result<Config, Problems> {
        let mut check = Check::default();
        let config = Config {
            listen: self.listen,
            admin_listen: self.admin_listen,
            nodes: self.nodes,
            data_dir: self.data_dir.clone(),
            log_level: self.log_level,
            engine: engine(self, &mut check),
            cors: cors(&self.cors, &mut check),
            recovery: recovery(self, &mut check),
            auth: auth(&self.auth, &mut check),
            history: history(self, &mut check),
            limits: limits(self, &mut check),
            drain: drain(self, &mut check),
            nats: nats(self, &mut check),
            api: api(self, &mut check),
            relay: relay(self, &mut check),
        };
        listeners(self, &mut check);
        if check.problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(check.problems))
        }
    }
}

/// Collects problems while values pass through it.
#[derive(Default)]
pub(crate) struct Check {
    problems: Vec<Problem>,
}

impl Check {
    /// A wrong value.
    pub(crate) fn problem(&mut self, path: &str, found: impl Display, allowed: impl Into<String>) {
        self.push(path, &format!("`{found}`"), allowed);
    }

    /// Something wrong that is described instead of shown.
    pub(crate) fn push(&mut self, path: &str, found: &str, allowed: impl Into<String>) {
        self.problems.push(Problem::new(path, found, allowed));
    }

    fn number(&mut self, path: &str, value: u64, range: RangeInclusive<u64>) -> u64 {
        if !range.contains(&value) {
            let allowed = format!("an integer from {} to {}", range.start(), range.end());
            self.problem(path, value, allowed);
        }
        value
    }

    fn count(&mut self, path: &str, value: u64, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.number(path, value, range)).unwrap_or(usize::MAX)
    }

    fn rate(&mut self, path: &str, value: u64, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.number(path, value, range)).unwrap_or(u32::MAX)
    }

    pub(crate) fn duration(
        &mut self,
        path: &str,
        value: DurationText,
        least: Duration,
    ) -> Duration {
        if !(least..=MAX_DURATION).contains(&value.0) {
            let (least, most) = (DurationText(least), DurationText(MAX_DURATION));
            self.problem(path, value, format!("a duration from {least} to {most}"));
        }
        value.0
    }
}

fn engine(raw: &ServerConfig, check: &mut Check) -> Engine {
    const LEAST: Duration = Duration::from_millis(100);
    let engine = &raw.engine;
    if engine.transports.is_empty() {
        check.problem(
            "engine.transports",
            "[]",
            "at least one of `polling`, `websocket`",
        );
    }
    if engine.max_send_queue_bytes < engine.max_payload_bytes {
        let allowed = "not less than engine.maxPayloadBytes: one message must fit";
        check.problem(
            "engine.maxSendQueueBytes",
            engine.max_send_queue_bytes,
            allowed,
        );
    }
    Engine {
        ping_interval: check.duration("engine.pingInterval", engine.ping_interval, LEAST),
        ping_timeout: check.duration("engine.pingTimeout", engine.ping_timeout, LEAST),
        upgrade_timeout: check.duration("engine.upgradeTimeout", engine.upgrade_timeout, LEAST),
        connect_timeout: check.duration("engine.connectTimeout", engine.connect_timeout, LEAST),
        max_payload_bytes: check.count(
            "engine.maxPayloadBytes",
            engine.max_payload_bytes,
            1000..=1 << 30,
        ),
        max_send_queue_bytes: check.count(
            "engine.maxSendQueueBytes",
            engine.max_send_queue_bytes,
            65_536..=1 << 30,
        ),
        has_polling: engine.transports.contains(&Transport::Polling),
        has_websocket: engine.transports.contains(&Transport::Websocket),
    }
}

fn cors(raw: &CorsSection, check: &mut Check) -> Option<Cors> {
    let is_any = raw.origins.iter().any(|origin| origin == "*");
    if is_any && raw.origins.len() > 1 {
        check.problem(
            "cors.origins",
            raw.origins.join(", "),
            "either `*` alone or a list of origins",
        );
    }
    if is_any && raw.credentials {
        let allowed = "`false` with origin `*`: browsers refuse both together";
        check.problem("cors.credentials", raw.credentials, allowed);
    }
    for origin in raw
        .origins
        .iter()
        .filter(|origin| *origin != "*" && !is_origin(origin))
    {
        let allowed = "`*`, or `http` or `https`, host and port in lower case such as `https://chat.example.com:8443`";
        check.problem("cors.origins", origin.escape_debug(), allowed);
    }
    let origins = if is_any {
        Origins::Any
    } else {
        Origins::List(raw.origins.clone())
    };
    (!raw.origins.is_empty()).then_some(Cors {
        origins,
        credentials: raw.credentials,
    })
}

/// Whether a browser would send exactly this text as `Origin`.
fn is_origin(text: &str) -> bool {
    let Some(rest) = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    else {
        return false;
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_host_char =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.[]:".contains(c);
    !host.is_empty()
        && host.chars().all(is_host_char)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn recovery(raw: &ServerConfig, check: &mut Check) -> Option<Recovery> {
    let recovery = &raw.recovery;
    let checked = Recovery {
        window: check.duration("recovery.window", recovery.window, Duration::from_secs(1)),
        memory_window_bytes: check.count(
            "recovery.memoryWindowBytes",
            recovery.memory_window_bytes,
            65_536..=MAX_BYTES,
        ),
        max_replay_events: check.count(
            "recovery.maxReplayEvents",
            recovery.max_replay_events,
            1..=100_000_000,
        ),
        max_replay_bytes: check.count(
            "recovery.maxReplayBytes",
            recovery.max_replay_bytes,
            65_536..=MAX_BYTES,
        ),
    };
    recovery.enabled.then_some(checked)
}

fn history(raw: &ServerConfig, check: &mut Check) -> History {
    let retention = raw.history.retention;
    let window = if raw.recovery.enabled {
        raw.recovery.window.0
    } else {
        Duration::ZERO
    };
    let pings = raw
        .engine
        .ping_interval
        .0
        .saturating_add(raw.engine.ping_timeout.0);
    let least = window.saturating_add(pings).saturating_add(RETENTION_SLACK);
    if !retention.0.is_zero() && retention.0 < least {
        let allowed = format!(
            "0 (for ever), or at least {}: recovery.window + engine.pingInterval + engine.pingTimeout + 10s",
            DurationText(least)
        );
        check.problem("history.retention", retention, allowed);
    }
    History {
        retention: (!retention.0.is_zero()).then_some(retention.0),
        replay_limit: check.count(
            "history.replayLimit",
            raw.history.replay_limit,
            1..=1_000_000,
        ),
        replay_newest: check.count(
            "history.replayNewest",
            raw.history.replay_newest,
            0..=10_000,
        ),
    }
}

fn limits(raw: &ServerConfig, check: &mut Check) -> Limits {
    let limits = &raw.limits;
    let per_address = check.count(
        "limits.connectionsPerAddress",
        limits.connections_per_address,
        0..=10_000_000,
    );
    Limits {
        connections: check.count("limits.connections", limits.connections, 1..=10_000_000),
        connections_per_address: (per_address > 0).then_some(per_address),
        events_per_second: check.rate(
            "limits.eventsPerSecond",
            limits.events_per_second,
            1..=1_000_000,
        ),
        events_burst: check.rate("limits.eventsBurst", limits.events_burst, 1..=1_000_000),
        rooms_per_socket: check.count("limits.roomsPerSocket", limits.rooms_per_socket, 1..=10_000),
        message_characters: check.count(
            "limits.messageCharacters",
            limits.message_characters,
            1..=raw.engine.max_payload_bytes.max(1),
        ),
        inbox_events: check.count("limits.inboxEvents", limits.inbox_events, 1..=100_000),
    }
}

fn drain(raw: &ServerConfig, check: &mut Check) -> Drain {
    let drain = &raw.drain;
    if drain.settle >= drain.deadline {
        check.problem("drain.settle", drain.settle, "less than drain.deadline");
    }
    Drain {
        settle: drain.settle.0,
        deadline: check.duration("drain.deadline", drain.deadline, Duration::from_secs(1)),
        rate: check.rate("drain.rate", drain.rate, 1..=1_000_000),
    }
}

fn listeners(raw: &ServerConfig, check: &mut Check) {
    if raw.data_dir.as_os_str().is_empty() {
        check.problem("dataDir", "", "the path of a folder");
    }
    let count = match raw.nodes {
        Nodes::Count(count) => u32::from(count),
        Nodes::Auto => 1,
    };
    let (first, admin) = (
        u32::from(raw.listen.port()),
        u32::from(raw.admin_listen.port()),
    );
    if first == 0 {
        return;
    }
    let last = first + count - 1;
    if last > u32::from(u16::MAX) {
        let allowed = format!(
            "a port of at most {}, so that {count} nodes fit",
            65_536 - count
        );
        check.problem("listen", raw.listen, allowed);
    }
    let (ip, admin_ip) = (raw.listen.ip(), raw.admin_listen.ip());
    let is_same_address = ip == admin_ip || ip.is_unspecified() || admin_ip.is_unspecified();
    if is_same_address && (first..=last).contains(&admin) {
        let allowed = format!("a port outside {first} to {last}, which the nodes listen on");
        check.problem("adminListen", raw.admin_listen, allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Auth;

    fn problems(yaml: &str) -> Vec<String> {
        let config = ServerConfig::parse(yaml).expect("the text is understood");
        let problems = config.validate().expect_err("a rule is broken");
        problems.0.iter().map(ToString::to_string).collect()
    }

    fn valid(yaml: &str) -> Config {
        ServerConfig::parse(yaml).unwrap().validate().unwrap()
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = ServerConfig::default().validate().unwrap();
        assert_eq!(config.engine.ping_interval, Duration::from_secs(25));
        assert_eq!(config.recovery.unwrap().window, Duration::from_secs(120));
        assert_eq!(config.cors, None);
        assert_eq!(config.auth, Auth::None);
    }

    #[test]
    fn every_broken_rule_is_reported_at_once() {
        let found = problems(
            "listen: 0.0.0.0:65535\nnodes: 2\nengine: {transports: [], pingInterval: 1ms}\n\
             limits: {eventsBurst: 0}\ndrain: {settle: 1h}\nauth: {type: Jwt}\n",
        );
        let paths: Vec<&str> = found
            .iter()
            .map(|text| text.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "engine.transports",
                "engine.pingInterval",
                "auth.jwt",
                "limits.eventsBurst",
                "drain.settle",
                "listen"
            ],
            "{found:#?}"
        );
    }

    #[test]
    fn retention_below_the_recovery_span_is_refused() {
        let found = problems("history: {retention: 174s}");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with(
                "history.retention: found `174s`; allowed: 0 (for ever), or at least 175s"
            ),
            "{found:?}"
        );
        assert_eq!(
            valid("history: {retention: 175s}").history.retention,
            Some(Duration::from_secs(175))
        );
        assert_eq!(valid("history: {retention: 0}").history.retention, None);
        valid("history: {retention: 55s}\nrecovery: {enabled: false}");
    }

    #[test]
    fn origins_are_those_that_browsers_send() {
        valid(
            "cors: {origins: ['https://a.example', 'http://localhost:8080', 'http://[::1]:3000'], credentials: true}",
        );
        assert_eq!(
            valid("cors: {origins: ['*']}").cors.unwrap().origins,
            Origins::Any
        );
        for origin in [
            "a.example",
            "https://A.example",
            "https://a.example/",
            "https://",
            "https://a.example:x",
            "ftp://a.example",
        ] {
            let found = problems(&format!("cors: {{origins: ['{origin}']}}"));
            assert!(
                found[0].starts_with("cors.origins: "),
                "{origin}: {found:?}"
            );
        }
        assert_eq!(
            problems("cors: {origins: ['*'], credentials: true}").len(),
            1
        );
        assert_eq!(
            problems("cors: {origins: ['*', 'https://a.example']}").len(),
            1
        );
    }

    #[test]
    fn the_admin_port_must_be_free_of_nodes() {
        assert_eq!(problems("listen: 127.0.0.1:9088\nnodes: 4\n").len(), 1);
        valid("listen: 127.0.0.1:9088\nnodes: 2\n");
        valid("listen: 127.0.0.1:0\nadminListen: 127.0.0.1:0\nnodes: 4\n");
    }
}
