//! Whether somebody serves what leads clients in, judged from the objects' own status.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::core::DynamicObject;
use serde_json::Value;

/// What leads clients in, as it is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance {
    pub(crate) client_service: Option<Service>,
    pub(crate) ingress: Option<Ingress>,
    /// Objects of the dialects' own kinds.
    pub(crate) extensions: Vec<DynamicObject>,
    /// Kinds that shall be made and that the API server does not know, such as `HTTPRoute (gateway.networking.k8s.io/v1)`.
    pub(crate) unknown_kinds: Vec<String>,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Whether clients get in; `None` if nobody knows.
    pub(crate) holds: Option<bool>,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Serving {
    fn yes(reason: &'static str, message: String) -> Self {
        Self {
            holds: Some(true),
            reason,
            message,
        }
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason,
            message: message.into(),
        }
    }

    pub(super) fn unknown(reason: &'static str, message: &str) -> Self {
        Self {
            holds: None,
            reason,
            message: message.to_owned(),
        }
    }
}

impl Entrance {
    /// The address of the load balancer that the client Service is.
    pub(crate) fn balancer(&self) -> Option<String> {
        let status = self.client_service.as_ref()?.status.as_ref()?;
        let addresses = status.load_balancer.as_ref()?.ingress.as_ref()?;
        addresses
            .iter()
            .find_map(|one| one.hostname.clone().or_else(|| one.ip.clone()))
    }

    fn extension(&self, kind: &str) -> Option<&DynamicObject> {
        let is_it =
            |found: &&DynamicObject| found.types.as_ref().is_some_and(|types| types.kind == kind);
        self.extensions.iter().find(is_it)
    }
}

/// An Ingress has an address once a controller has taken it.
pub(super) fn by_ingress(entrance: &Entrance) -> Serving {
    let Some(ingress) = &entrance.ingress else {
        return Serving::no("NotCreated", "there is no Ingress");
    };
    let addresses = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let address = addresses.and_then(|all| {
        all.iter()
            .find_map(|one| one.hostname.clone().or_else(|| one.ip.clone()))
    });
    match address {
        Some(address) => Serving::yes(
            "AddressAssigned",
            format!("its controller serves it at {address}"),
        ),
        None => Serving::no(
            "NoAddress",
            "no controller has given the Ingress an address; some never do: is `spec.ingress.className` right?",
        ),
    }
}

/// A Service that is a load balancer has an address once the platform has made one.
pub(super) fn by_service(entrance: &Entrance) -> Serving {
    match entrance.balancer() {
        Some(address) => Serving::yes(
            "AddressAssigned",
            format!("the platform's load balancer is at {address}"),
        ),
        None => Serving::no(
            "NoAddress",
            "the platform has given the Service no load balancer; where there is none, such as on bare metal, MetalLB makes them",
        ),
    }
}

/// A route of the Gateway API is served once its Gateway has accepted it and found what it refers to. Policies that are
/// attached to it must be accepted, too.
pub(super) fn by_route(entrance: &Entrance, route: &str, policies: &[&str]) -> Serving {
    if !entrance.unknown_kinds.is_empty() {
        let kinds = entrance.unknown_kinds.join(" and ");
        let message = format!(
            "the API server does not know {kinds}: install the definitions of the Gateway API and of its controller"
        );
        return Serving::no("KindNotInstalled", message);
    }
    let Some(found) = entrance.extension(route) else {
        return Serving::no("NotCreated", format!("there is no {route}"));
    };
    let parents = statements(found, "parents");
    if parents.is_empty() {
        let message = format!(
            "no controller has answered for the {route}: is `spec.ingress.gatewayRef` right, and does the Gateway allow routes of this namespace?"
        );
        return Serving::no("NoAnswer", message);
    }
    for kind in ["Accepted", "ResolvedRefs"] {
        if let Some(said) = refusal(&parents, kind) {
            return Serving::no("RouteRefused", format!("{route}: {said}"));
        }
    }
    for policy in policies {
        let said = entrance
            .extension(policy)
            .and_then(|found| refusal(&statements(found, "ancestors"), "Accepted"));
        if let Some(said) = said {
            return Serving::no("PolicyRefused", format!("{policy}: {said}"));
        }
    }
    Serving::yes("RouteAccepted", format!("the Gateway serves the {route}"))
}

/// The conditions that each of `status.parents` or `status.ancestors` holds about the object as it is now written.
fn statements<'a>(object: &'a DynamicObject, by: &str) -> Vec<&'a Value> {
    let all = object.data["status"][by].as_array().into_iter().flatten();
    let conditions = all.filter_map(|one| one["conditions"].as_array());
    let generation = object.metadata.generation;
    conditions
        .flatten()
        .filter(|condition| {
            let about = condition["observedGeneration"].as_i64();
            about.is_none() || generation.is_none() || about == generation
        })
        .collect()
}

/// Why a condition does not hold.
fn refusal(conditions: &[&Value], kind: &str) -> Option<String> {
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind && condition["status"] != "True")?;
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    Some(format!(
        "{kind} is {}, {}: {}",
        text("status"),
        text("reason"),
        text("message")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, status: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "example.com/v1", "kind": kind,
            "metadata": { "name": "chat", "generation": 2 }, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn condition(kind: &str, status: &str, about: i64) -> Value {
        json!({ "type": kind, "status": status, "reason": "Because", "message": "of this", "observedGeneration": about })
    }

    fn judged(route: &Value, policy: &Value) -> Serving {
        let entrance = Entrance {
            extensions: vec![object("Route", route), object("Policy", policy)],
            ..Entrance::default()
        };
        by_route(&entrance, "Route", &["Policy"])
    }

    #[test]
    fn a_route_is_served_when_its_gateway_and_the_policies_controller_have_said_so() {
        let parents = |all: Value| json!({ "parents": [{ "conditions": all }] });
        let good = parents(json!([
            condition("Accepted", "True", 2),
            condition("ResolvedRefs", "True", 2)
        ]));
        let accepted = judged(&good, &json!({}));
        assert_eq!(
            (accepted.holds, accepted.reason),
            (Some(true), "RouteAccepted")
        );

        for (route, policy, reason, said) in [
            (
                json!({}),
                json!({}),
                "NoAnswer",
                "no controller has answered",
            ),
            (
                parents(json!([condition("Accepted", "True", 1)])),
                json!({}),
                "NoAnswer",
                "no controller has answered",
            ),
            (
                parents(json!([condition("Accepted", "False", 2)])),
                json!({}),
                "RouteRefused",
                "Route: Accepted is False, Because: of this",
            ),
            (
                parents(json!([
                    condition("Accepted", "True", 2),
                    condition("ResolvedRefs", "False", 2)
                ])),
                json!({}),
                "RouteRefused",
                "Route: ResolvedRefs is False, Because: of this",
            ),
            (
                good,
                json!({ "ancestors": [{ "conditions": [condition("Accepted", "False", 2)] }] }),
                "PolicyRefused",
                "Policy: Accepted is False, Because: of this",
            ),
        ] {
            let judged = judged(&route, &policy);
            assert_eq!((judged.holds, judged.reason), (Some(false), reason));
            assert!(judged.message.starts_with(said), "{}", judged.message);
        }
    }

    #[test]
    fn a_kind_that_is_not_installed_is_said_in_one_sentence() {
        let entrance = Entrance {
            unknown_kinds: vec!["Route (example.com/v1)".to_owned()],
            ..Entrance::default()
        };
        let judged = by_route(&entrance, "Route", &[]);
        assert_eq!(
            (judged.holds, judged.reason, judged.message.as_str()),
            (
                Some(false),
                "KindNotInstalled",
                "the API server does not know Route (example.com/v1): install the definitions of the Gateway API and of its controller"
            )
        );
    }
}
