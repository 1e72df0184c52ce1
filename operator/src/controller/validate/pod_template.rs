//! `spec.podTemplate`: a pod template whose fields the schema does not know, so it is read strictly here.

use chatcluster_chat_api::Problem;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};

const FIELD: &str = "spec.podTemplate";

/// Reads it; what is not a field of a pod template is a problem, not a wish that is silently dropped.
pub(super) fn parse(
    written: Option<&Map<String, Value>>,
    problems: &mut Vec<Problem>,
) -> Option<PodTemplateSpec> {
    let written = Value::Object(written?.clone());
    let parsed: PodTemplateSpec = match serde_json::from_value(written.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.push(Problem::new(
                FIELD,
                error,
                "a PodTemplateSpec: `metadata` and `spec` of a pod",
            ));
            return None;
        }
    };
    let understood = serde_json::to_value(&parsed).unwrap_or_default();
    let mut unknown = Vec::new();
    compare(FIELD, &written, &understood, &mut unknown);
    for path in unknown {
        problems.push(Problem::new(
            path,
            "an unknown field",
            "a field of Kubernetes' pods, with its own spelling",
        ));
    }
    Some(parsed)
}

/// What was written and is not there after reading.
fn compare(path: &str, written: &Value, understood: &Value, unknown: &mut Vec<String>) {
    match (written, understood) {
        (Value::Object(fields), Value::Object(known)) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => compare(&path, value, known, unknown),
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(known)) => {
            for (index, (item, known)) in items.iter().zip(known).enumerate() {
                compare(&format!("{path}[{index}]"), item, known, unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(written: &Value) -> (Option<PodTemplateSpec>, Vec<String>) {
        let mut problems = Vec::new();
        let parsed = parse(written.as_object(), &mut problems);
        (parsed, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pod_template_is_read() {
        let (parsed, problems) = read(&json!({
            "metadata": { "annotations": { "a": "b" } },
            "spec": { "nodeSelector": { "disk": "ssd" }, "containers": [{ "name": "server", "env": [] }] },
        }));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            parsed.unwrap().spec.unwrap().node_selector.unwrap()["disk"],
            "ssd"
        );
    }

    #[test]
    fn misspelt_fields_are_named_at_any_depth() {
        let (_, problems) = read(&json!({
            "spec": { "nodeselector": {}, "containers": [{ "name": "server", "resource": {} }] },
        }));
        let paths: Vec<&str> = problems
            .iter()
            .filter_map(|text| text.split(": ").next())
            .collect();
        assert_eq!(
            paths,
            [
                "spec.podTemplate.spec.containers[0].resource",
                "spec.podTemplate.spec.nodeselector"
            ]
        );
    }

    #[test]
    fn another_kind_of_value_is_a_problem() {
        let (parsed, problems) = read(&json!({ "spec": { "containers": 3 } }));
        assert_eq!((parsed, problems.len()), (None, 1));
        assert!(
            problems[0].starts_with("spec.podTemplate: found invalid type"),
            "{problems:?}"
        );
    }
}
