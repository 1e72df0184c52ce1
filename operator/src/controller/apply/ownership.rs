//! Whose an object is, and which fields of it are the operator's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    FieldsV1, ManagedFieldsEntry, ObjectMeta, OwnerReference,
};
use serde_json::{Map, Value, json};

use crate::names::MANAGER;

const METADATA: &str = "f:metadata";
const APPLY: &str = "Apply";

/// Whether this very ChatCluster controls it: one of the same name that was deleted is another.
pub(super) fn is_of(owners: &[OwnerReference], cluster: &OwnerReference) -> bool {
    let is_this =
        |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == cluster.uid;
    owners.iter().any(is_this)
}

/// A patch that makes all fields but others' labels and annotations the operator's, if they are not.
///
/// An apply takes away only what its manager owns alone. Two things keep a child from becoming what it shall be:
/// - What was created is recorded as *updated* by the operator. An apply under the same name would own it a second time.
/// - An entry of a list that somebody changed by hand is theirs. An apply adds the right one beside it: a port twice, which
///   the API server refuses for good.
///
/// So before an apply the record is rewritten, as `kubectl` does when it moves from client-side to server-side apply. Status
/// is a subresource and stays with its writers. The resource version makes it a compare-and-set.
pub(super) fn claim(live: &ObjectMeta) -> Option<Value> {
    let entries = live.managed_fields.as_deref()?;
    let version = &entries.iter().find(|entry| is_ours(entry))?.api_version;
    let mut claimed = Value::Object(Map::new());
    let mut kept = Vec::new();
    for entry in entries {
        let is_of_status = entry
            .subresource
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        if is_of_status || entry.api_version != *version {
            kept.push(entry.clone());
            continue;
        }
        let mut fields = entry
            .fields_v1
            .clone()
            .map(|fields| fields.0)
            .unwrap_or_default();
        if !is_ours(entry)
            && let Some(theirs) = take_metadata(&mut fields)
        {
            kept.push(ManagedFieldsEntry {
                fields_v1: Some(FieldsV1(json!({ METADATA: theirs }))),
                ..entry.clone()
            });
        }
        unite(&mut claimed, fields);
    }
    let ours = ManagedFieldsEntry {
        api_version: version.clone(),
        fields_type: Some("FieldsV1".to_owned()),
        fields_v1: Some(FieldsV1(claimed)),
        manager: Some(MANAGER.to_owned()),
        operation: Some(APPLY.to_owned()),
        ..Default::default()
    };
    let is_claimed = |entry: &ManagedFieldsEntry| {
        entry.operation == ours.operation && is_ours(entry) && entry.fields_v1 == ours.fields_v1
    };
    if kept.len() + 1 == entries.len() && entries.iter().any(is_claimed) {
        return None;
    }
    kept.insert(0, ours);
    Some(json!({ "metadata": { "managedFields": kept, "resourceVersion": live.resource_version } }))
}

fn is_ours(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(MANAGER)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn take_metadata(fields: &mut Value) -> Option<Value> {
    fields.as_object_mut()?.remove(METADATA)
}

/// Sets of fields are trees of objects; a leaf is an empty one.
fn unite(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        return;
    };
    for (name, below) in from {
        unite(into.entry(name).or_insert_with(|| json!({})), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        manager: &str,
        operation: &str,
        subresource: Option<&str>,
        fields: Value,
    ) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            subresource: subresource.map(str::to_owned),
            api_version: Some("v1".to_owned()),
            fields_type: Some("FieldsV1".to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..Default::default()
        }
    }

    fn object(entries: Vec<ManagedFieldsEntry>) -> ObjectMeta {
        ObjectMeta {
            managed_fields: Some(entries),
            resource_version: Some("7".to_owned()),
            ..Default::default()
        }
    }

    /// Manager, operation and fields of each entry after the patch.
    fn after(live: &ObjectMeta) -> Vec<(String, String, Value)> {
        let patch = claim(live).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let entries = patch["metadata"]["managedFields"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let each = |entry: &Value| {
            (
                text(&entry["manager"]),
                text(&entry["operation"]),
                entry["fieldsV1"].clone(),
            )
        };
        entries.iter().map(each).collect()
    }

    #[test]
    fn what_was_created_is_recorded_as_applied_and_status_is_left_to_its_writers() {
        let (spec, status) = (
            json!({ "f:spec": { "f:replicas": {} } }),
            json!({ "f:status": {} }),
        );
        let live = object(vec![
            entry(MANAGER, "Update", None, spec.clone()),
            entry(
                "kube-controller-manager",
                "Update",
                Some("status"),
                status.clone(),
            ),
        ]);
        assert_eq!(
            after(&live),
            [
                (MANAGER.to_owned(), "Apply".to_owned(), spec),
                (
                    "kube-controller-manager".to_owned(),
                    "Update".to_owned(),
                    status
                ),
            ]
        );
    }

    #[test]
    fn what_others_changed_in_the_spec_is_claimed_and_their_annotations_are_not() {
        let ours = json!({ "f:metadata": { "f:labels": {} }, "f:spec": { "f:ports": { "k:80": { ".": {} } } } });
        let theirs = json!({
            "f:metadata": { "f:annotations": { "f:mine": {} } },
            "f:spec": { "f:ports": { "k:8080": { ".": {} } } },
        });
        let live = object(vec![
            entry(MANAGER, "Apply", None, ours),
            entry("kubectl-edit", "Update", None, theirs),
        ]);
        assert_eq!(
            after(&live),
            [
                (
                    MANAGER.to_owned(),
                    "Apply".to_owned(),
                    json!({
                        "f:metadata": { "f:labels": {} },
                        "f:spec": { "f:ports": { "k:80": { ".": {} }, "k:8080": { ".": {} } } },
                    })
                ),
                (
                    "kubectl-edit".to_owned(),
                    "Update".to_owned(),
                    json!({ "f:metadata": { "f:annotations": { "f:mine": {} } } })
                ),
            ]
        );
    }

    #[test]
    fn a_record_that_is_right_is_not_written_again() {
        let (spec, note) = (
            json!({ "f:spec": {} }),
            json!({ "f:metadata": { "f:annotations": { "f:mine": {} } } }),
        );
        let applied = entry(MANAGER, "Apply", None, spec.clone());
        assert_eq!(claim(&object(vec![applied.clone()])), None);
        assert_eq!(
            claim(&object(vec![
                entry("kubectl", "Update", None, note),
                applied.clone()
            ])),
            None
        );
        assert_eq!(claim(&ObjectMeta::default()), None);
        let twice = object(vec![applied, entry(MANAGER, "Update", None, spec.clone())]);
        assert_eq!(
            after(&twice),
            [(MANAGER.to_owned(), "Apply".to_owned(), spec)]
        );
    }

    #[test]
    fn an_owner_is_known_by_uid_and_only_as_the_controller() {
        let owner = |uid: &str, controller| OwnerReference {
            uid: uid.to_owned(),
            controller,
            ..Default::default()
        };
        let cluster = owner("a", Some(true));
        assert!(is_of(&[owner("b", None), owner("a", Some(true))], &cluster));
        assert!(!is_of(&[owner("a", None)], &cluster));
        assert!(!is_of(&[owner("b", Some(true))], &cluster));
        assert!(!is_of(&[], &cluster));
    }
}
