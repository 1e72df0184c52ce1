//! Which fields a running server takes over from its file when that changes. All others count at its next start.

use serde_yaml::Value;

use crate::{HistorySection, LimitsSection, ServerConfig};

impl ServerConfig {
    /// What a server that runs with `running` makes of this file: its own fields where they can be taken over, else those
    /// that it runs with.
    #[must_use]
    pub fn over(&self, running: &Self) -> Self {
        // Named without `..`: whoever adds a field decides here whether it can change while a server runs.
        let Self {
            listen: _,
            admin_listen: _,
            nodes: _,
            data_dir: _,
            log_level,
            engine: _,
            cors: _,
            recovery: _,
            auth,
            history:
                HistorySection {
                    retention: _,
                    replay_limit,
                    replay_newest,
                },
            limits:
                LimitsSection {
                    connections,
                    connections_per_address,
                    events_per_second,
                    events_burst,
                    rooms_per_socket,
                    message_characters,
                    inbox_events: _,
                },
            drain,
            nats: _,
            api: _,
            relay: _,
        } = self;
        Self {
            log_level: *log_level,
            auth: auth.clone(),
            history: HistorySection {
                replay_limit: *replay_limit,
                replay_newest: *replay_newest,
                ..running.history.clone()
            },
            limits: LimitsSection {
                connections: *connections,
                connections_per_address: *connections_per_address,
                events_per_second: *events_per_second,
                events_burst: *events_burst,
                rooms_per_socket: *rooms_per_socket,
                message_characters: *message_characters,
                inbox_events: running.limits.inbox_events,
            },
            drain: drain.clone(),
            ..running.clone()
        }
    }

    /// This configuration with the defaults of all fields that a running server takes over: two that differ in it need a
    /// new start.
    #[must_use]
    pub fn fixed(&self) -> Self {
        Self::default().over(self)
    }

    /// The fields that differ from `other`, such as `engine.pingInterval`, in the order of the file.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare("", &tree(self), &tree(other), &mut found);
        found
    }

    /// The fields that this configuration has when it is written: those without a value are not.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let mut found = Vec::new();
        compare("", &tree(self), &Value::Null, &mut found);
        found
    }
}

fn tree(config: &ServerConfig) -> Value {
    serde_yaml::to_value(config).expect("a configuration can be written")
}

fn compare(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    let fields = |value: &Value| match value {
        Value::Mapping(fields) => Some(fields.clone()),
        Value::Null => Some(serde_yaml::Mapping::new()),
        _ => None,
    };
    let is_section = one.is_mapping() || other.is_mapping();
    let (true, Some(one_fields), Some(other_fields)) = (is_section, fields(one), fields(other))
    else {
        if one != other {
            found.push(path.to_owned());
        }
        return;
    };
    let more = other_fields
        .keys()
        .filter(|key| !one_fields.contains_key(*key));
    for key in one_fields.keys().chain(more) {
        let name = key.as_str().unwrap_or_default();
        let path = match path {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        let value = |fields: &serde_yaml::Mapping| fields.get(key).cloned().unwrap_or_default();
        compare(&path, &value(&one_fields), &value(&other_fields), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> ServerConfig {
        ServerConfig::parse(yaml).unwrap()
    }

    #[test]
    fn a_running_server_takes_over_what_can_change_and_keeps_the_rest() {
        let running = read("listen: 127.0.0.1:4000\nlimits: {inboxEvents: 7, connections: 1}\n");
        let file = read(
            "listen: 127.0.0.1:5000\nlogLevel: debug\ncors: {origins: ['*']}\n\
             auth: {type: Jwt, jwt: {keyFile: /key}}\nhistory: {retention: 1d, replayNewest: 3}\n\
             limits: {inboxEvents: 8, connections: 2}\ndrain: {rate: 9}\n",
        );
        let taken = file.over(&running);
        assert_eq!(
            taken.differences(&running),
            [
                "logLevel",
                "auth.type",
                "auth.jwt.algorithms",
                "auth.jwt.keyFile",
                "auth.jwt.clockSkew",
                "history.replayNewest",
                "limits.connections",
                "drain.rate"
            ]
        );
        assert_eq!(
            file.differences(&taken),
            [
                "listen",
                "cors.origins",
                "history.retention",
                "limits.inboxEvents"
            ]
        );
    }

    #[test]
    fn what_needs_a_new_start_is_the_same_whatever_can_change() {
        let one = read("engine: {pingInterval: 9s}\ndrain: {rate: 1}\nlogLevel: warn\n");
        let other = read("engine: {pingInterval: 9s}\nauth: {type: Jwt, jwt: {keyFile: /key}}\n");
        assert_eq!(one.fixed(), other.fixed());
        assert_ne!(one.fixed(), ServerConfig::default().fixed());
    }

    #[test]
    fn fields_without_a_value_are_not_written() {
        let fields = read("auth: {type: Jwt, jwt: {keyFile: /key}}\n").fields();
        let has = |name: &str| fields.iter().any(|field| field == name);
        assert!(has("auth.jwt.keyFile") && has("engine.transports") && has("listen"));
        assert!(!has("auth.jwt.issuer") && !has("auth.jwt") && !has("nats.tls"));
    }
}
