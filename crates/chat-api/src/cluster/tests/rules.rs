//! Each rule of the definition, both ways, as `rules.yaml` has them, judged by an evaluator of CEL.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{fill, lay, nodes, schema};

/// One entry of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    says: String,
    #[serde(default)]
    accepts: Vec<Value>,
    #[serde(default)]
    refuses: Vec<Value>,
    #[serde(default)]
    changes: Both<(Value, Value)>,
    #[serde(default)]
    names: Both<String>,
    #[serde(default)]
    beside: Vec<String>,
    #[serde(default = "external")]
    nats: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both<T> {
    accepts: Vec<T>,
    refuses: Vec<T>,
}

impl<T> Default for Both<T> {
    fn default() -> Self {
        Self {
            accepts: Vec::new(),
            refuses: Vec::new(),
        }
    }
}

fn external() -> String {
    "External".to_owned()
}

fn table() -> Vec<Rule> {
    serde_yaml::from_str(include_str!("rules.yaml")).unwrap()
}

impl Rule {
    /// The object of a case, as it passed an API server.
    fn object(&self, name: &str, spec: Value) -> Value {
        let mut object = json!({
            "apiVersion": "chatcluster.dev/v1alpha1", "kind": "ChatCluster", "metadata": { "name": name }, "spec": {},
        });
        if self.nats == "External" {
            object["spec"] =
                json!({ "nats": { "mode": "External", "urls": ["nats://nats:4222"] } });
        }
        lay(&mut object["spec"], spec);
        fill(&schema()["properties"]["spec"], &mut object["spec"]);
        object
    }

    /// Every case: an object, what it was, and whether this rule refuses it.
    fn cases(&self) -> Vec<(Value, Option<Value>, bool)> {
        let chat = |spec: &Value| self.object("chat", spec.clone());
        let one = |is_refused: bool| move |object| (object, None, is_refused);
        let two = |is_refused: bool| {
            move |(before, after): &(Value, Value)| (chat(after), Some(chat(before)), is_refused)
        };
        let named = |name: &String| self.object(name, json!({}));
        let mut all = Vec::new();
        all.extend(self.accepts.iter().map(chat).map(one(false)));
        all.extend(self.refuses.iter().map(chat).map(one(true)));
        all.extend(self.names.accepts.iter().map(named).map(one(false)));
        all.extend(self.names.refuses.iter().map(named).map(one(true)));
        all.extend(self.changes.accepts.iter().map(two(false)));
        all.extend(self.changes.refuses.iter().map(two(true)));
        all
    }
}

/// What the rules say about `object`, or about its change from `old`.
fn judge(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    match kube_cel::Validator::new().validate(schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .map(|error| error.message)
            .collect(),
    }
}

#[test]
fn every_rule_accepts_what_it_is_not_about_and_refuses_what_it_is() {
    let schema = schema();
    for rule in table() {
        for (object, old, is_refused) in rule.cases() {
            let said = judge(&schema, &object, old.as_ref());
            let spec = &object["spec"];
            let begins = |beginning: &str| said.iter().any(|text| text.starts_with(beginning));
            assert_eq!(
                begins(&rule.says),
                is_refused,
                "{}: {spec}: {said:?}",
                rule.says
            );
            let is_known = |text: &String| {
                is_refused
                    && (text.starts_with(&rule.says)
                        || rule.beside.iter().any(|other| text.starts_with(other)))
            };
            assert!(said.iter().all(is_known), "{}: {spec}: {said:?}", rule.says);
            assert!(!said.concat().contains("sesame"), "{said:?}");
        }
    }
}

#[test]
fn the_table_has_every_rule_both_ways_and_no_other() {
    let schema = schema();
    let mut found = Vec::new();
    nodes("", &schema, &mut found);
    let messages: Vec<&str> = found
        .iter()
        .flat_map(|(_, node)| node["x-kubernetes-validations"].as_array())
        .flatten()
        .map(|rule| rule["message"].as_str().unwrap())
        .collect();
    let table = table();
    for message in &messages {
        let of = table.iter().filter(|rule| message.starts_with(&rule.says));
        assert_eq!(of.count(), 1, "{message}");
    }
    for rule in &table {
        // An image is said in two places.
        let is_there = messages.iter().any(|text| text.starts_with(&rule.says));
        assert!(is_there, "{}", rule.says);
        let cases = rule.cases();
        assert!(
            cases.iter().any(|(.., is_refused)| *is_refused),
            "{}",
            rule.says
        );
        assert!(
            cases.iter().any(|(.., is_refused)| !*is_refused),
            "{}",
            rule.says
        );
    }
}
