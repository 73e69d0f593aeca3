use meshspan_model::Kind;
use serde_json::{Value, json};

use crate::fixtures::{violations, warnings};

const KIND: Kind = Kind::MeshTrafficPermission;

fn from(conf: Value) -> Vec<String> {
    violations(
        KIND,
        json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": conf}]}),
    )
}

fn rules(conf: Value) -> Vec<String> {
    violations(KIND, json!({"rules": [{"default": conf}]}))
}

#[test]
fn both_forms_are_taken() {
    for action in ["Allow", "Deny", "AllowWithShadowDeny"] {
        assert!(from(json!({"action": action})).is_empty(), "{action}");
    }
    for list in ["deny", "allow", "allowWithShadowDeny"] {
        let web = json!([{"spiffeID": {"type": "Exact", "value": "spiffe://default/web"}}]);
        assert!(rules(json!({list: web})).is_empty(), "{list}");
    }
    let both = json!([{
        "spiffeID": {"type": "Prefix", "value": "spiffe://default"},
        "sni": {"type": "Exact", "value": "backend"},
    }]);
    assert!(rules(json!({"allow": both})).is_empty());
    let old = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    assert_eq!(warnings(KIND, old), ["spec.from is deprecated: use spec.rules"]);
}

#[test]
fn from_needs_an_action_and_nothing_else() {
    let required = "spec.from[0].default.action: must be defined: Allow, Deny or AllowWithShadowDeny";
    assert_eq!(from(json!({})), [required]);
    assert_eq!(from(Value::Null), [required]);
    assert_eq!(
        from(json!({"action": "Allow", "deny": []})),
        ["spec.from[0].default.deny: must not be set in spec.from; set action here, or write spec.rules"]
    );
    let unknown = from(json!({"action": "ALLOW"}));
    assert!(
        unknown.len() == 1
            && unknown[0].starts_with("spec.from[0].default.action: ")
            && unknown[0].contains("Allow, Deny, AllowWithShadowDeny"),
        "{unknown:?}"
    );
}

#[test]
fn rules_need_clients_and_no_action() {
    let needed = "spec.rules[0].default: must have at least one defined: deny, allow, allowWithShadowDeny";
    assert_eq!(rules(json!({})), [needed]);
    assert_eq!(rules(json!({"allow": []})), [needed]);
    let web = json!({"spiffeID": {"type": "Exact", "value": "spiffe://default/web"}});
    assert_eq!(
        rules(json!({"action": "Deny", "allow": [web]})),
        [
            "spec.rules[0].default.action: must not be set in spec.rules; list the clients in deny, allow or \
             allowWithShadowDeny"
        ]
    );
    let many: Vec<_> = std::iter::repeat_n(web, 1025).collect();
    assert_eq!(
        rules(json!({"deny": many})),
        ["spec.rules[0].default.deny: has 1025 items, must have no more than 1024"]
    );
}

#[test]
fn each_client_is_checked() {
    assert_eq!(
        rules(json!({"allow": [{}], "deny": [
            {"spiffeID": {"type": "Exact", "value": "web"}},
            {"sni": {"type": "Exact", "value": ""}},
            {"spiffeID": {"type": "Prefix", "value": format!("spiffe://{}", "x".repeat(2040))}},
        ]})),
        [
            "spec.rules[0].default.deny[0].spiffeID.value: is \"web\", must start with spiffe://",
            "spec.rules[0].default.deny[1].sni.value: must be defined",
            "spec.rules[0].default.deny[2].spiffeID.value: has 2049 bytes, must have no more than 2048",
            "spec.rules[0].default.allow[0]: must have spiffeID or sni",
        ]
    );
    let regex = rules(json!({"allow": [{"sni": {"type": "Regex", "value": "x"}}]}));
    assert!(
        regex.len() == 1 && regex[0].starts_with("spec.rules[0].default.allow[0].sni.type: "),
        "{regex:?}"
    );
}
