#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use envoy_types::pb::envoy::config::rbac::v3::Principal;
use envoy_types::pb::envoy::config::rbac::v3::principal::Identifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meshspan_model::Resource;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Client, Policy};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const KIND: PolicyKind = PolicyKind::MeshTrafficPermission;

fn rules(specs: &[Value]) -> InboundRules {
    let load = |(index, spec): (usize, &Value)| {
        KIND.kind().check(spec).unwrap();
        let resource = Resource::new(KIND.kind(), "default", format!("policy-{index}"), spec.clone());
        Arc::new(Policy::load(KIND, Arc::new(resource)).unwrap())
    };
    let policies: Vec<_> = specs.iter().enumerate().map(load).collect();
    InboundRules::of(&policies).remove(&KIND).unwrap()
}

fn client(service: &str, version: &str, sni: &str) -> Client {
    Client {
        spiffe_id: format!("spiffe://default/{service}"),
        sni: sni.to_owned(),
        tags: [("kuma.io/service", service), ("version", version)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    }
}

/// What Envoy makes of a principal.
fn holds(principal: &Principal, client: &Client) -> bool {
    let mut uris = client.tags.iter().map(|(key, value)| match key.as_str() {
        TAG_SERVICE => client.spiffe_id.clone(),
        key => format!("kuma://{key}/{value}"),
    });
    match principal.identifier.as_ref().unwrap() {
        Identifier::Any(any) => *any,
        Identifier::AndIds(set) => set.ids.iter().all(|one| holds(one, client)),
        Identifier::OrIds(set) => set.ids.iter().any(|one| holds(one, client)),
        Identifier::NotId(one) => !holds(one, client),
        Identifier::Authenticated(wanted) => {
            match wanted.principal_name.as_ref().unwrap().match_pattern.as_ref().unwrap() {
                MatchPattern::Exact(value) => uris.any(|uri| uri == *value),
                MatchPattern::Prefix(value) => uris.any(|uri| uri.starts_with(value)),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

fn is_in(clients: &Clients, client: &Client) -> bool {
    clients.iter().any(|(sni, principals)| {
        sni.as_ref().is_none_or(|sni| *sni == client.sni) && principals.iter().any(|one| holds(one, client))
    })
}

/// Whether a client is let in, and whether it is reported.
fn decide(decisions: &Decisions, client: &Client) -> (bool, bool) {
    let allowed = is_in(&decisions.allowed, client) && !is_in(&decisions.denied, client);
    (allowed, allowed && is_in(&decisions.reported, client))
}

/// The same by the book: the first rule that matches decides.
fn expected(rules: &InboundRules, client: &Client) -> (bool, bool) {
    let Some(effective) = rules.for_client(client) else {
        return (false, false);
    };
    let conf: Conf = serde_json::from_value(effective.conf.clone()).unwrap();
    let listed =
        |list: &Option<Vec<RuleMatch>>| list.iter().flatten().any(|one| ClientMatch::from(one).matches(client));
    let shadow = listed(&conf.allow_with_shadow_deny) || conf.action == Some(Action::AllowWithShadowDeny);
    let allowed = conf.action == Some(Action::Allow) || shadow || listed(&conf.allow);
    let denied = conf.action == Some(Action::Deny) || listed(&conf.deny);
    (allowed && !denied, allowed && !denied && shadow)
}

fn from(items: Value) -> Value {
    json!({ "from": items })
}

fn item(target: Value, action: &str) -> Value {
    json!({ "targetRef": target, "default": { "action": action } })
}

fn service(name: &str) -> Value {
    json!({ "kind": "MeshService", "name": name })
}

fn who(specs: &[Value]) -> Vec<&'static str> {
    let decisions = Decisions::of(&rules(specs), "default");
    let all = ["web", "admin", "batch"];
    all.into_iter()
        .filter(|name| decide(&decisions, &client(name, "1", "")).0)
        .collect()
}

#[test]
fn nobody_is_let_in_without_permission() {
    assert!(who(&[from(json!([item(json!({ "kind": "Mesh" }), "Deny")]))]).is_empty());
    assert_eq!(who(&[from(json!([item(service("web"), "Allow")]))]), ["web"]);
    assert_eq!(
        who(&[json!({ "rules": [{ "default": { "deny": [{ "sni": { "type": "Exact", "value": "x" } }] } }] })]),
        [""; 0]
    );
}

#[test]
fn later_items_of_from_override_earlier_ones() {
    let all_but_web = from(json!([
        item(json!({ "kind": "Mesh" }), "Allow"),
        item(service("web"), "Deny")
    ]));
    assert_eq!(who(&[all_but_web]), ["admin", "batch"]);
    let all = from(json!([
        item(service("web"), "Deny"),
        item(json!({ "kind": "Mesh" }), "Allow")
    ]));
    assert_eq!(who(&[all]), ["web", "admin", "batch"]);
}

#[test]
fn a_refusal_wins_over_every_permission_of_the_new_form() {
    let exact = |name: &str| json!({ "spiffeID": { "type": "Exact", "value": format!("spiffe://default/{name}") } });
    let everyone = json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } });
    let one = json!({ "rules": [{ "default": { "allow": [everyone], "deny": [exact("web")] } }] });
    assert_eq!(who(std::slice::from_ref(&one)), ["admin", "batch"]);
    let allow_web = json!({ "rules": [{ "default": { "allow": [exact("web")] } }] });
    assert_eq!(who(&[one, allow_web]), ["admin", "batch"]);
}

#[test]
fn the_new_form_replaces_the_old_one() {
    let everyone = from(json!([item(json!({ "kind": "Mesh" }), "Allow")]));
    let web = json!({ "spiffeID": { "type": "Exact", "value": "spiffe://default/web" } });
    let only_web = json!({ "rules": [{ "default": { "allow": [web] } }] });
    let all_but_web = json!({ "rules": [{ "default": { "deny": [web] } }] });
    assert_eq!(who(std::slice::from_ref(&everyone)), ["web", "admin", "batch"]);
    assert_eq!(who(&[everyone.clone(), only_web]), ["web"]);
    assert_eq!(who(&[everyone, all_but_web]), [""; 0], "nobody is let in by rules");
}

#[test]
fn what_is_said_of_everyone_is_not_repeated() {
    let items = json!([
        item(json!({ "kind": "Mesh" }), "Allow"),
        item(service("web"), "AllowWithShadowDeny")
    ]);
    let rules = rules(&[from(items)]);
    let decisions = Decisions::of(&rules, "default");
    assert_eq!(decisions.allowed.get(&None).map(Vec::len), Some(1), "{decisions:?}");
    assert_eq!(decide(&decisions, &client("web", "1", "")), (true, true));
    assert_eq!(decide(&decisions, &client("admin", "1", "")), (true, false));
}

#[test]
fn rules_that_cannot_be_told_apart_let_nobody_in() {
    let mut rules = rules(&[from(json!([item(json!({ "kind": "Mesh" }), "Allow")]))]);
    rules.is_complete = false;
    assert_eq!(Decisions::of(&rules, "default"), Decisions::default());
}

fn matches() -> impl Strategy<Value = Value> {
    let spiffe = prop_oneof![
        "spiffe://default/[ab]".prop_map(|value| json!({ "type": "Exact", "value": value })),
        "spiffe://default(/[ab])?".prop_map(|value| json!({ "type": "Prefix", "value": value })),
    ];
    let sni = "[xy]".prop_map(|value| json!({ "type": "Exact", "value": value }));
    prop_oneof![
        spiffe.clone().prop_map(|spiffe| json!({ "spiffeID": spiffe })),
        sni.clone().prop_map(|sni| json!({ "sni": sni })),
        (spiffe, sni).prop_map(|(spiffe, sni)| json!({ "spiffeID": spiffe, "sni": sni })),
    ]
}

fn policies() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        Just(json!({ "kind": "Mesh" })),
        "[ab]".prop_map(|name| service(&name)),
        "[12]".prop_map(|version| json!({ "kind": "MeshSubset", "tags": { "version": version } })),
        ("[ab]", "[12]").prop_map(|(name, version)| {
            json!({ "kind": "MeshServiceSubset", "name": name, "tags": { "version": version } })
        }),
    ];
    let action = prop_oneof![Just("Allow"), Just("Deny"), Just("AllowWithShadowDeny")];
    let items = prop::collection::vec((target, action).prop_map(|(target, action)| item(target, action)), 1..4);
    let lists = [0, 1, 2].map(|_| prop::collection::vec(matches(), 0..3));
    let rules = lists.prop_filter_map("a rule says something", |[deny, allow, shadow]| {
        let says = !(deny.is_empty() && allow.is_empty() && shadow.is_empty());
        let conf = json!({ "deny": deny, "allow": allow, "allowWithShadowDeny": shadow });
        says.then(|| json!({ "rules": [{ "default": conf }] }))
    });
    prop_oneof![items.prop_map(|items| from(Value::Array(items))), rules]
}

proptest! {
    #[test]
    fn sets_decide_as_the_list_does(specs in prop::collection::vec(policies(), 1..4)) {
        let rules = rules(&specs);
        let decisions = Decisions::of(&rules, "default");
        for name in ["a", "b", "c"] {
            for version in ["1", "2", "3"] {
                for sni in ["x", "y", ""] {
                    let client = client(name, version, sni);
                    prop_assert_eq!(decide(&decisions, &client), expected(&rules, &client), "{:?}", client);
                }
            }
        }
    }
}
