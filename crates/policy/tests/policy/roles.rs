//! Roles (`spec/policies.md` §1.4).

use meshspan_model::policy::{Document, Role};
use serde_json::{Value, json};

fn role(spec: Value, namespace: &str) -> Result<Role, String> {
    let document = Document::parse(&spec, &mut Vec::new()).unwrap();
    Role::of(&document, namespace, "mesh-system").map_err(|violations| violations.to_string())
}

fn to(references: &[Value]) -> Value {
    let items: Vec<_> = references
        .iter()
        .map(|reference| json!({ "targetRef": reference, "default": {} }))
        .collect();
    json!({ "to": items })
}

#[test]
fn outside_of_kubernetes_and_in_the_system_namespace_it_is_the_system() {
    let spec = to(&[json!({ "kind": "MeshService", "name": "redis" })]);
    assert_eq!(role(spec.clone(), ""), Ok(Role::System));
    assert_eq!(role(spec, "mesh-system"), Ok(Role::System));
}

#[test]
fn items_decide_between_producer_and_consumer() {
    let own = json!({ "kind": "MeshService", "name": "redis" });
    let also_own = json!({ "kind": "MeshService", "name": "redis", "namespace": "shop" });
    let own_by_label = json!({ "kind": "MeshService", "labels": { "kuma.io/display-name": "redis", "k8s.kuma.io/namespace": "shop" } });
    assert_eq!(
        role(to(&[own.clone(), also_own, own_by_label]), "shop"),
        Ok(Role::Producer)
    );
    for foreign in [
        json!({ "kind": "Mesh" }),
        json!({ "kind": "MeshService", "name": "redis", "namespace": "other" }),
        json!({ "kind": "MeshService", "labels": { "app": "redis" } }),
        json!({ "kind": "MeshMultiZoneService", "name": "redis" }),
        json!({ "kind": "MeshExternalService", "name": "redis" }),
    ] {
        assert_eq!(
            role(to(std::slice::from_ref(&foreign)), "shop"),
            Ok(Role::Consumer),
            "{foreign}"
        );
        assert_eq!(
            role(to(&[own.clone(), foreign]), "shop"),
            Err(
                "spec.to: must not mix items for services of namespace \"shop\" with other items; write two policies"
                    .to_owned()
            )
        );
    }
}

#[test]
fn incoming_traffic_belongs_to_the_workload_owner() {
    assert_eq!(
        role(json!({ "rules": [{ "default": {} }] }), "shop"),
        Ok(Role::WorkloadOwner)
    );
    assert_eq!(role(json!({ "default": {} }), "shop"), Ok(Role::WorkloadOwner));
    let mut both = to(&[json!({ "kind": "Mesh" })]);
    both["from"] = json!([{ "targetRef": { "kind": "Mesh" }, "default": {} }]);
    assert!(role(both, "shop").unwrap_err().contains("write two policies"));
}

#[test]
fn labels_name_roles() {
    for role in [Role::System, Role::Producer, Role::Consumer, Role::WorkloadOwner] {
        assert_eq!(Role::from_label(role.name()), role);
    }
    assert_eq!(Role::from_label(""), Role::System);
}
