//! Incoming traffic (`spec/policies.md` §1.8 C, §7.2), and proxies as a whole.

use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Client, InboundRules, Policy};
use serde_json::{Value, json};

use crate::fixtures::{effective, map, names, policy};

fn permission(name: &str, from: Value) -> Policy {
    policy(PolicyKind::MeshTrafficPermission, name, &[], json!({ "from": from }))
}

fn subset(tags: Value, action: &str) -> Value {
    json!({ "targetRef": { "kind": "MeshSubset", "tags": tags }, "default": { "action": action } })
}

fn rules(policies: Vec<Policy>, kind: PolicyKind) -> InboundRules {
    effective(policies).inbound(kind, 0).unwrap().clone()
}

fn tagged(tags: &[(&str, &str)]) -> Client {
    Client {
        tags: map(tags),
        ..Client::default()
    }
}

fn action(rules: &InboundRules, client: &Client) -> Value {
    rules
        .for_client(client)
        .map_or(Value::Null, |found| found.conf["action"].clone())
}

#[test]
fn from_becomes_an_ordered_list_closed_under_overlap() {
    let rules = rules(
        vec![permission(
            "p",
            json!([
                { "targetRef": { "kind": "Mesh" }, "default": { "action": "Deny" } },
                subset(json!({ "team": "a" }), "Allow"),
                subset(json!({ "version": "v1" }), "AllowWithShadowDeny"),
                subset(json!({ "team": "b" }), "Allow"),
            ]),
        )],
        PolicyKind::MeshTrafficPermission,
    );
    let listed: Vec<_> = rules
        .rules
        .iter()
        .map(|rule| (rule.clients.tags.len(), rule.effective.conf["action"].clone()))
        .collect();
    assert_eq!(
        listed,
        [
            (2, json!("AllowWithShadowDeny")),
            (2, json!("Allow")),
            (1, json!("Allow")),
            (1, json!("Allow")),
            (1, json!("AllowWithShadowDeny")),
            (0, json!("Deny")),
        ]
    );
    assert!(rules.is_complete);
    assert_eq!(
        action(&rules, &tagged(&[("team", "a"), ("version", "v1")])),
        "AllowWithShadowDeny"
    );
    assert_eq!(action(&rules, &tagged(&[("team", "b"), ("version", "v1")])), "Allow");
    assert_eq!(action(&rules, &tagged(&[("team", "a")])), "Allow");
    assert_eq!(action(&rules, &tagged(&[("team", "c")])), "Deny");
    assert_eq!(rules.for_all().unwrap().conf, json!({ "action": "Deny" }));
}

#[test]
fn services_in_from_are_the_service_tag() {
    let rules = rules(
        vec![permission(
            "p",
            json!([{ "targetRef": { "kind": "MeshServiceSubset", "name": "web", "tags": { "version": "v1" } }, "default": { "action": "Allow" } }]),
        )],
        PolicyKind::MeshTrafficPermission,
    );
    assert_eq!(
        action(&rules, &tagged(&[("kuma.io/service", "web"), ("version", "v1")])),
        "Allow"
    );
    assert_eq!(action(&rules, &tagged(&[("kuma.io/service", "web")])), Value::Null);
    assert_eq!(rules.for_all(), None);
}

#[test]
fn items_of_from_keep_their_order_however_narrow_they_are() {
    let rules = rules(
        vec![permission(
            "p",
            json!([
                subset(json!({ "team": "a" }), "Deny"),
                { "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } },
            ]),
        )],
        PolicyKind::MeshTrafficPermission,
    );
    assert_eq!(action(&rules, &tagged(&[("team", "a")])), "Allow");
}

#[test]
fn rules_are_sorted_by_how_narrowly_they_match() {
    let matched = |found: Value, limit: &str| json!({ "matches": [found], "default": { "limit": limit } });
    let exact = json!({ "spiffeID": { "type": "Exact", "value": "spiffe://m/a" } });
    let prefix = json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://m" } });
    let sni = json!({ "sni": { "type": "Exact", "value": "s" } });
    let written = json!({ "rules": [
        matched(exact, "exact"), matched(prefix, "prefix"), matched(sni, "sni"), { "default": { "limit": "all" } },
    ] });
    let rules = rules(
        vec![policy(PolicyKind::MeshFaultInjection, "f", &[], written)],
        PolicyKind::MeshFaultInjection,
    );
    let order: Vec<_> = rules
        .rules
        .iter()
        .map(|rule| {
            let how = rule
                .clients
                .spiffe_id
                .as_ref()
                .map(|spiffe_id| format!("{:?}", spiffe_id.how));
            (how.unwrap_or_default(), rule.clients.sni.is_some())
        })
        .collect();
    let expected = [
        ("Exact", true),
        ("Exact", false),
        ("Prefix", true),
        ("Prefix", false),
        ("", true),
        ("", false),
    ];
    assert_eq!(order, expected.map(|(how, sni)| (how.to_owned(), sni)));
    let limit = |spiffe_id: &str, sni: &str| {
        let client = Client {
            spiffe_id: spiffe_id.to_owned(),
            sni: sni.to_owned(),
            ..Client::default()
        };
        rules.for_client(&client).unwrap().conf["limit"].clone()
    };
    // Within a policy the narrower rule wins, wherever it is written.
    assert_eq!(limit("spiffe://m/a", "s"), "exact");
    assert_eq!(limit("spiffe://m/b", "s"), "prefix");
    assert_eq!(limit("spiffe://other/a", "s"), "sni");
    assert_eq!(limit("spiffe://other/a", ""), "all");
}

#[test]
fn matches_of_one_rule_are_alternatives_with_one_origin() {
    let exact = |value: &str| json!({ "spiffeID": { "type": "Exact", "value": format!("spiffe://m/{value}") } });
    let written = json!({ "rules": [{ "matches": [exact("a"), exact("b"), exact("a")], "default": { "x": 1 } }] });
    let rules = rules(
        vec![policy(PolicyKind::MeshFaultInjection, "f", &[], written)],
        PolicyKind::MeshFaultInjection,
    );
    assert_eq!(rules.rules.len(), 2);
    for rule in &rules.rules {
        assert_eq!(names(rule.effective.origins()), ["f rules[0]"]);
    }
}

#[test]
fn an_item_counts_once_for_a_client_that_it_selects_twice() {
    let spiffe_id = |how: &str, value: &str| json!({ "spiffeID": { "type": how, "value": value } });
    let matches = [spiffe_id("Exact", "spiffe://m/a"), spiffe_id("Prefix", "spiffe://m")];
    let written = json!({ "rules": [{ "matches": matches, "default": { "appendX": [1] } }] });
    let rules = rules(
        vec![policy(PolicyKind::MeshFaultInjection, "f", &[], written)],
        PolicyKind::MeshFaultInjection,
    );
    let client = Client {
        spiffe_id: "spiffe://m/a".to_owned(),
        ..Client::default()
    };
    assert_eq!(rules.for_client(&client).unwrap().conf, json!({ "appendX": [1] }));
}

#[test]
fn permissions_of_several_policies_add_up() {
    let allow = |name: &str| {
        let spec = json!({ "rules": [{ "default": { "allow": [{ "spiffeID": { "type": "Exact", "value": format!("spiffe://m/{name}") } }] } }] });
        policy(PolicyKind::MeshTrafficPermission, name, &[], spec)
    };
    let rules = rules(vec![allow("a"), allow("b")], PolicyKind::MeshTrafficPermission);
    let found = rules.for_all().unwrap();
    assert_eq!(found.conf["allow"].as_array().unwrap().len(), 2);
    assert_eq!(names(found.origins()), ["b rules[0]", "a rules[0]"]);
}

#[test]
fn too_many_overlaps_are_cut_off_and_reported() {
    let items: Vec<_> = (0..12)
        .map(|index| subset(json!({ format!("t{index}"): "v" }), "Allow"))
        .collect();
    let rules = rules(vec![permission("p", json!(items))], PolicyKind::MeshTrafficPermission);
    assert!(!rules.is_complete);
    assert_eq!(rules.rules.len(), meshspan_policy::MAX_RULES);
}

#[test]
fn of_too_many_items_those_of_highest_precedence_stay() {
    let subsets = |name: &str, count: usize| {
        let items: Vec<_> = (0..count)
            .map(|index| subset(json!({ "client": format!("{name}{index}") }), "Allow"))
            .collect();
        permission(name, json!(items))
    };
    let rules = rules(
        vec![subsets("b", 600), subsets("a", 600)],
        PolicyKind::MeshTrafficPermission,
    );
    assert!(!rules.is_complete);
    assert_eq!(action(&rules, &tagged(&[("client", "a0")])), "Allow");
    assert_eq!(action(&rules, &tagged(&[("client", "b599")])), "Allow");
    assert_eq!(action(&rules, &tagged(&[("client", "b0")])), Value::Null);
}

#[test]
fn proxies_as_a_whole_get_one_merged_conf() {
    let trace = |name: &str, top: Value, conf: Value| {
        policy(
            PolicyKind::MeshTrace,
            name,
            &[],
            json!({ "targetRef": top, "default": conf }),
        )
    };
    let all = effective([
        trace(
            "mesh",
            json!({ "kind": "Mesh" }),
            json!({ "sampling": { "overall": 1, "random": 1 } }),
        ),
        trace(
            "web",
            json!({ "kind": "MeshService", "name": "web" }),
            json!({ "sampling": { "overall": 2 } }),
        ),
        trace(
            "db",
            json!({ "kind": "MeshService", "name": "db" }),
            json!({ "sampling": { "overall": 3 } }),
        ),
    ]);
    let found = &all.whole[&PolicyKind::MeshTrace];
    assert_eq!(found.conf, json!({ "sampling": { "overall": 2, "random": 1 } }));
    assert_eq!(names(found.origins()), ["mesh default[0]", "web default[0]"]);
}

#[test]
fn rules_of_permissions_replace_from_where_both_match() {
    let kind = PolicyKind::MeshTrafficPermission;
    let allow_all = || {
        permission(
            "a",
            json!([{ "targetRef": { "kind": "Mesh" }, "default": { "action": "Allow" } }]),
        )
    };
    let web = json!([{ "spiffeID": { "type": "Exact", "value": "spiffe://m/web" } }]);
    let allow_web = |labels: &[(&str, &str)], top: Value| {
        policy(
            kind,
            "b",
            labels,
            json!({ "targetRef": top, "rules": [{ "default": { "allow": web } }] }),
        )
    };
    let mesh = json!({ "kind": "Mesh" });
    let both = rules(vec![allow_all(), allow_web(&[], mesh.clone())], kind);
    assert_eq!(both.for_all().unwrap().conf, json!({ "allow": web }));
    let shadow = allow_web(&[("kuma.io/effect", "shadow")], mesh);
    let elsewhere = allow_web(&[], json!({ "kind": "Dataplane", "name": "other" }));
    for without_effect in [shadow, elsewhere] {
        let rules = rules(vec![allow_all(), without_effect], kind);
        assert_eq!(rules.for_all().unwrap().conf, json!({ "action": "Allow" }));
    }
}
