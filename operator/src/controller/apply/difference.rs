//! Whether an object is as it shall be, judged from the object alone.
//!
//! An API server adds defaults, and others may add labels and annotations: so what is there must hold everything that is
//! asked for, and may hold more. Something that is *no longer* asked for cannot be seen that way; the hash of what was
//! asked for stands in an annotation, and differs then.

use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde_json::Value;

use crate::controller::validate::short_hash;
use crate::names::DESIRED_HASH;

/// Fields that are taken for true where they are absent.
const TRUE_IF_ABSENT: [&str; 3] = [
    ".automountServiceAccountToken",
    ".enableServiceLinks",
    ".allowPrivilegeEscalation",
];

/// Writes the hash of what is asked for onto it.
pub(super) fn stamp<K: Resource + Serialize>(desired: &mut K) -> serde_json::Result<()> {
    // Secrets are hashed like the rest: 64 bits of a hash that also covers 32 random bytes say nothing about them.
    let hash = short_hash(serde_json::to_value(&*desired)?.to_string().as_bytes());
    desired
        .annotations_mut()
        .insert(DESIRED_HASH.to_owned(), hash);
    Ok(())
}

/// The first field that is not as it shall be.
pub(super) fn first<K: Serialize>(desired: &K, live: &K) -> serde_json::Result<Option<String>> {
    let (desired, live) = (serde_json::to_value(desired)?, serde_json::to_value(live)?);
    Ok(within(&mut String::new(), &desired, &live))
}

fn within(path: &mut String, desired: &Value, live: &Value) -> Option<String> {
    let found = match (desired, live) {
        (Value::Object(fields), Value::Object(others)) => {
            return fields.iter().find_map(|(name, value)| {
                step(
                    path,
                    &format!(".{name}"),
                    value,
                    others.get(name).unwrap_or(&Value::Null),
                )
            });
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let pairs = items.iter().zip(others).enumerate();
            return pairs
                .into_iter()
                .find_map(|(index, (item, other))| step(path, &format!("[{index}]"), item, other));
        }
        (Value::String(text), Value::String(other)) => {
            text == other || is_same_amount(path, text, other)
        }
        (value, Value::Null) => is_absent(path, value),
        (value, other) => value == other,
    };
    (!found).then(|| path.trim_start_matches('.').to_owned())
}

fn step(path: &mut String, segment: &str, desired: &Value, live: &Value) -> Option<String> {
    let length = path.len();
    path.push_str(segment);
    let found = within(path, desired, live);
    path.truncate(length);
    found
}

/// An API server does not write what is empty, zero or false, unless absence means something else.
fn is_absent(path: &str, desired: &Value) -> bool {
    match desired {
        Value::Null => true,
        Value::Bool(value) => !value && !TRUE_IF_ABSENT.iter().any(|name| path.ends_with(name)),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// An API server writes amounts its own way: `1000m` comes back as `1`.
fn is_same_amount(path: &str, text: &str, other: &str) -> bool {
    let is_amount = [".requests.", ".limits.", ".sizeLimit"]
        .iter()
        .any(|part| path.contains(part));
    is_amount && amount(text).is_some() && amount(text) == amount(other)
}

/// A quantity in thousandths, if it has that form.
fn amount(text: &str) -> Option<i128> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: i128 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let number = whole.parse::<i128>().ok()? * 1000 + thousandths;
    let scale: i128 = match unit {
        "m" => return Some(number / 1000),
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(desired: &Value, live: &Value) -> Option<String> {
        first(desired, live).unwrap()
    }

    #[test]
    fn what_an_api_server_adds_is_no_difference() {
        let desired = json!({ "spec": { "ports": [{ "port": 80 }], "empty": {}, "none": [] } });
        let live = json!({ "spec": { "ports": [{ "port": 80, "protocol": "TCP" }], "clusterIP": "10.0.0.1" }, "status": {} });
        assert_eq!(difference(&desired, &live), None);
    }

    #[test]
    fn what_an_api_server_does_not_write_is_no_difference() {
        let wanted = json!({ "minReadySeconds": 0, "hostNetwork": false, "subPath": "" });
        assert_eq!(difference(&wanted, &json!({})), None);
        let token = json!({ "automountServiceAccountToken": false });
        assert_eq!(
            difference(&token, &json!({})),
            Some("automountServiceAccountToken".to_owned())
        );
        assert!(
            difference(
                &json!({ "minReadySeconds": 0 }),
                &json!({ "minReadySeconds": 5 })
            )
            .is_some()
        );
    }

    #[test]
    fn the_first_field_that_differs_is_named() {
        let desired = json!({ "spec": { "ports": [{ "port": 80 }, { "port": 81 }] } });
        let live = |port: u16| json!({ "spec": { "ports": [{ "port": 80 }, { "port": port }] } });
        assert_eq!(
            difference(&desired, &live(82)),
            Some("spec.ports[1].port".to_owned())
        );
        assert_eq!(difference(&desired, &live(81)), None);
        assert_eq!(difference(&desired, &json!({})), Some("spec".to_owned()));
    }

    #[test]
    fn an_entry_that_was_added_to_or_taken_from_a_list_is_a_difference() {
        let list = |items: Value| json!({ "args": items });
        assert_eq!(
            difference(&list(json!(["a"])), &list(json!(["a", "b"]))),
            Some("args".to_owned())
        );
        assert_eq!(
            difference(&list(json!(["a", "b"])), &list(json!(["a"]))),
            Some("args".to_owned())
        );
    }

    #[test]
    fn amounts_are_compared_by_value_and_other_texts_by_letter() {
        let wanted = |amount: &str| json!({ "resources": { "requests": { "cpu": amount } } });
        for (written, returned) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5k", "1500"),
        ] {
            assert_eq!(
                difference(&wanted(written), &wanted(returned)),
                None,
                "{written}"
            );
        }
        assert!(difference(&wanted("1"), &wanted("2")).is_some());
        assert!(difference(&wanted("1"), &wanted("1Ki")).is_some());
        assert!(difference(&json!({ "value": "1000m" }), &json!({ "value": "1" })).is_some());
    }

    #[test]
    fn what_is_no_longer_asked_for_shows_in_the_hash() {
        use k8s_openapi::api::core::v1::ServiceAccount;
        let mut before = ServiceAccount {
            automount_service_account_token: Some(false),
            ..Default::default()
        };
        let mut after = ServiceAccount::default();
        stamp(&mut before).unwrap();
        stamp(&mut after).unwrap();
        let field = first(&after, &before).unwrap();
        assert_eq!(
            field.as_deref(),
            Some("metadata.annotations.chatcluster.dev/desired-hash")
        );
        let mut again = ServiceAccount {
            automount_service_account_token: Some(false),
            ..Default::default()
        };
        stamp(&mut again).unwrap();
        assert_eq!(first(&again, &before).unwrap(), None);
    }
}
