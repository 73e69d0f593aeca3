//! Laws that hold for all policies.

use std::collections::BTreeMap;

use meshspan_model::policy::{Document, PolicyKind};
use meshspan_policy::{
    Client, EffectivePolicies, InboundItem, InboundRules, ListRules, Matched, Mode, Policy, PolicySet, dangling,
    merge_two, touch,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

use crate::fixtures::{
    DISPLAY_NAME, NAMESPACE, ORIGIN, ROLE, ZONE, checkout, effective, inbound, map, policy, proxy, redis, services,
    set, timeout, try_policy,
};

fn object(fields: BTreeMap<String, Value>) -> Value {
    Value::Object(fields.into_iter().collect::<Map<_, _>>())
}

/// Confs in which a field has one type wherever it occurs, as in a schema: `s…` scalars, `l…` and `append…` lists,
/// `o…` objects.
fn conf() -> impl Strategy<Value = Value> {
    let scalar = (select(vec!["s1", "s2", "s3"]), (0..4_u8).prop_map(|value| json!(value)));
    let null = (select(vec!["s1", "l1", "o1"]), Just(Value::Null));
    let list = (
        select(vec!["l1", "l2", "appendA"]),
        vec(0..4_u8, 0..3).prop_map(|list| json!(list)),
    );
    let leaf = prop_oneof![4 => scalar, 1 => null, 3 => list];
    let flat = vec(leaf, 0..5)
        .prop_map(|fields| object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()));
    flat.prop_recursive(3, 24, 3, |inner| {
        (
            inner.clone(),
            btree_map(select(vec!["o1".to_owned(), "o2".to_owned()]), inner, 0..3),
        )
            .prop_map(|(mut flat, nested)| {
                if let Some(fields) = flat.as_object_mut() {
                    fields.extend(nested);
                }
                flat
            })
    })
}

fn route_conf() -> impl Strategy<Value = Value> {
    let rule =
        (0..4_u8, conf()).prop_map(|(path, default)| json!({ "matches": [{ "path": path }], "default": default }));
    vec(rule, 0..4).prop_map(|rules| json!({ "rules": rules }))
}

fn merged(below: &Value, above: &Value, kind: PolicyKind) -> Value {
    merge_two(below.clone(), above, ListRules::of(kind))
}

fn check_associative(a: &Value, b: &Value, c: &Value, kind: PolicyKind) -> Result<(), TestCaseError> {
    let a = merged(&Value::Null, a, kind);
    let left = merged(&merged(&a, b, kind), c, kind);
    let right = merged(&a, &merged(&merged(&Value::Null, b, kind), c, kind), kind);
    prop_assert_eq!(left, right);
    Ok(())
}

/// Values of all scalar fields, by pointer.
fn scalars(value: &Value, pointer: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                scalars(value, &format!("{pointer}/{field}"), found);
            }
        }
        Value::Array(_) | Value::Null => {}
        scalar => {
            found.insert(pointer.to_owned(), scalar.clone());
        }
    }
}

fn top() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "kind": "Mesh" }),
        json!({ "kind": "Mesh", "proxyTypes": ["Sidecar"] }),
        json!({ "kind": "MeshSubset", "tags": { "version": "v1" } }),
        json!({ "kind": "MeshSubset", "tags": { "version": "v2" } }),
        json!({ "kind": "Dataplane", "labels": { "app": "web" } }),
        json!({ "kind": "Dataplane", "labels": { "app": "web" }, "sectionName": "http" }),
        json!({ "kind": "MeshService", "name": "web" }),
    ])
}

fn destination() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "kind": "Mesh" }),
        json!({ "kind": "MeshService", "name": "redis" }),
        json!({ "kind": "MeshService", "name": "redis", "sectionName": "9090" }),
        json!({ "kind": "MeshService", "labels": { "kuma.io/zone": "east" } }),
        json!({ "kind": "MeshMultiZoneService", "name": "checkout" }),
        json!({ "kind": "MeshMultiZoneService", "name": "checkout", "sectionName": "http" }),
    ])
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let all = vec![
        (ORIGIN, "global"),
        (ORIGIN, "zone"),
        (ZONE, "east"),
        (NAMESPACE, "shop"),
        (ROLE, "producer"),
        (ROLE, "consumer"),
        (DISPLAY_NAME, "same"),
        ("kuma.io/effect", "shadow"),
    ];
    subsequence(all, 0..5).prop_map(|pairs| map(&pairs))
}

fn outgoing(name: String) -> impl Strategy<Value = Policy> {
    let item = (destination(), conf()).prop_map(|(to, conf)| json!({ "targetRef": to, "default": conf }));
    (top(), vec(item, 1..4), labels()).prop_map(move |(top, to, labels)| {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        timeout(&name, &labels, json!({ "targetRef": top, "to": to }))
    })
}

fn several() -> impl Strategy<Value = Vec<Policy>> {
    (1..5_usize).prop_flat_map(|count| {
        (0..count)
            .map(|index| outgoing(format!("p{index}")))
            .collect::<Vec<_>>()
    })
}

fn clients() -> impl Strategy<Value = Value> {
    let spiffe_id = proptest::option::of((
        select(vec!["Exact", "Prefix"]),
        select(vec!["spiffe://m", "spiffe://m/a", "spiffe://m/ab", "spiffe://n"]),
    ));
    let sni = proptest::option::of(select(vec!["s", "t"]));
    (spiffe_id, sni).prop_map(|(spiffe_id, sni)| {
        let mut found = json!({});
        if let Some((how, value)) = spiffe_id {
            found["spiffeID"] = json!({ "type": how, "value": value });
        }
        if let Some(value) = sni {
            found["sni"] = json!({ "type": "Exact", "value": value });
        }
        found
    })
}

/// Items that select by identity and server name, and items of the old form that select by tags.
fn incoming() -> impl Strategy<Value = Vec<InboundItem>> {
    let rule = (clients(), conf()).prop_map(|(clients, conf)| match clients.as_object() {
        Some(fields) if fields.is_empty() => json!({ "default": conf }),
        _ => json!({ "matches": [clients], "default": conf }),
    });
    let tags = btree_map(select(vec!["a", "b", "c"]), select(vec!["1", "2"]), 0..3);
    let from = (tags, conf())
        .prop_map(|(tags, conf)| json!({ "targetRef": { "kind": "MeshSubset", "tags": tags }, "default": conf }));
    (vec(rule, 0..4), vec(from, 0..4)).prop_map(|(rules, from)| {
        let sidecars = json!({ "kind": "Mesh", "proxyTypes": ["Sidecar"] });
        let kind = PolicyKind::MeshFaultInjection;
        let new = policy(kind, "new", &[], json!({ "targetRef": sidecars, "rules": rules }));
        let old = policy(kind, "old", &[], json!({ "targetRef": sidecars, "from": from }));
        new.rules.into_iter().chain(old.rules).collect()
    })
}

fn client() -> impl Strategy<Value = Client> {
    let tags = btree_map(select(vec!["a", "b", "c"]), select(vec!["1", "2"]), 0..4);
    let spiffe_id = select(vec![
        "spiffe://m",
        "spiffe://m/a",
        "spiffe://m/abc",
        "spiffe://m/x",
        "spiffe://n/a",
        "",
    ]);
    (spiffe_id, select(vec!["s", "t", ""]), tags).prop_map(|(spiffe_id, sni, tags)| Client {
        spiffe_id: spiffe_id.to_owned(),
        sni: sni.to_owned(),
        tags: tags
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    })
}

/// Documents made of the right words in any place.
fn strange() -> impl Strategy<Value = Value> {
    let word = select(vec![
        "Mesh",
        "MeshSubset",
        "MeshService",
        "MeshMultiZoneService",
        "MeshHTTPRoute",
        "Dataplane",
        "checkout",
        "8080",
        "a_b_svc_80",
        "_",
        "",
        "Sidecar",
        "Exact",
        "ü",
    ]);
    let leaf = prop_oneof![
        4 => word.prop_map(|word| json!(word)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(|value| json!(value)),
    ];
    let field = || {
        select(vec![
            "targetRef",
            "to",
            "from",
            "rules",
            "default",
            "kind",
            "name",
            "labels",
            "tags",
            "sectionName",
            "proxyTypes",
            "matches",
            "backendRefs",
            "filters",
            "requestMirror",
            "backendRef",
            "spiffeID",
            "type",
            "value",
        ])
    };
    let loose = leaf.prop_recursive(6, 64, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|items| json!(items)),
            btree_map(field().prop_map(str::to_owned), inner, 0..5).prop_map(object),
        ]
    });
    let item = (destination(), loose.clone(), loose.clone())
        .prop_map(|(to, default, rules)| json!({ "targetRef": to, "default": default, "rules": rules }));
    let likely = (top(), vec(item, 0..3), loose.clone())
        .prop_map(|(top, items, default)| json!({ "targetRef": top, "to": items, "default": default }));
    prop_oneof![loose, likely]
}

/// Everything that the engine says, comparable.
fn everything(policies: &PolicySet, mode: Mode) -> String {
    let mut proxy = proxy(&[(ZONE, "east"), (NAMESPACE, "shop"), ("app", "web")]);
    proxy.inbounds.push(inbound("admin", 9000, &[("version", "v2")]));
    let all = EffectivePolicies::of(&proxy, policies, &services(), mode);
    let entries = all.outbound.entries(PolicyKind::MeshTimeout);
    format!("{entries:?} {:?} {:?}", all.whole, all.inbounds)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_associative(a in conf(), b in conf(), c in conf()) {
        check_associative(&a, &b, &c, PolicyKind::MeshTimeout)?;
    }

    #[test]
    fn merging_routes_is_associative(a in route_conf(), b in route_conf(), c in route_conf()) {
        check_associative(&a, &b, &c, PolicyKind::MeshHTTPRoute)?;
    }

    #[test]
    fn merging_a_conf_with_itself_changes_no_scalar(a in conf()) {
        let once = merged(&Value::Null, &a, PolicyKind::MeshTimeout);
        let twice = merged(&once, &a, PolicyKind::MeshTimeout);
        let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
        scalars(&once, "", &mut before);
        scalars(&twice, "", &mut after);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn precedence_is_a_total_order(policies in several()) {
        let items: Vec<_> = policies.iter().flat_map(|policy| &policy.to).map(|item| &item.contribution).collect();
        for (i, a) in items.iter().enumerate() {
            for (j, b) in items.iter().enumerate() {
                prop_assert_eq!(a.precedence.cmp(&b.precedence), b.precedence.cmp(&a.precedence).reverse());
                prop_assert_eq!(a.precedence == b.precedence, i == j);
                for c in &items {
                    if a.precedence < b.precedence && b.precedence < c.precedence {
                        prop_assert!(a.precedence < c.precedence);
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_loading_makes_no_difference(policies in several(), shuffle in vec(any::<Index>(), 5)) {
        let mut shuffled = policies.clone();
        for (position, index) in shuffle.iter().enumerate() {
            let (a, b) = (position % shuffled.len(), index.index(shuffled.len()));
            shuffled.swap(a, b);
        }
        let (one, other) = (set(policies), set(shuffled));
        prop_assert_eq!(everything(&one, Mode::WithShadow), everything(&other, Mode::WithShadow));
        let proxy = proxy(&[(ZONE, "east")]);
        prop_assert_eq!(Matched::of(&proxy, &one, Mode::Live).key(), Matched::of(&proxy, &other, Mode::Live).key());
    }

    #[test]
    fn changing_policies_one_by_one_equals_loading_them_afresh(policies in several(), extra in outgoing("p0".to_owned())) {
        let mut changed = set(policies.clone());
        let first = policies[0].id.clone();
        changed.insert(extra);
        changed.remove(&first);
        changed.insert(policies[0].clone());
        prop_assert_eq!(everything(&changed, Mode::Live), everything(&set(policies), Mode::Live));
    }

    /// What has to be looked at again after a change: the proxies that the policy touched before or touches after.
    #[test]
    fn a_change_makes_a_difference_only_where_the_policy_touches(
        policies in several(),
        routes in vec(top(), 1..3),
        change in prop_oneof![any::<Index>().prop_map(Ok), top().prop_map(Err)],
    ) {
        let reference = json!({ "kind": "MeshMultiZoneService", "name": "checkout" });
        let route = |name: &str, top: &Value| {
            let spec = json!({ "targetRef": top, "to": [{ "targetRef": reference, "rules": [] }] });
            policy(PolicyKind::MeshHTTPRoute, name, &[], spec)
        };
        let by_route = timeout(
            "by-route",
            &[],
            json!({
                "targetRef": { "kind": "MeshHTTPRoute", "labels": { DISPLAY_NAME: "r0" } },
                "to": [{ "targetRef": { "kind": "Mesh" }, "default": { "s1": 1 } }],
            }),
        );
        let routes = routes.iter().enumerate().map(|(index, top)| route(&format!("r{index}"), top));
        let before = set(policies.into_iter().chain(routes).chain([by_route]));
        let all: Vec<_> = before.iter().map(|policy| policy.id.clone()).collect();
        let mut after = before.clone();
        let changed = match change {
            Ok(index) => {
                let id = all[index.index(all.len())].clone();
                after.remove(&id);
                id
            }
            Err(top) => {
                let replaced = route("r0", &top);
                let id = replaced.id.clone();
                after.insert(replaced);
                id
            }
        };
        for version in ["v1", "v2"] {
            for labels in [vec![(ZONE, "east")], vec![(ZONE, "east"), ("app", "web"), (NAMESPACE, "shop")]] {
                let mut proxy = proxy(&labels);
                proxy.inbounds = vec![inbound("http", 80, &[("version", version)])];
                let touches = |set: &PolicySet| {
                    set.get(&changed).is_some_and(|policy| touch(policy, &proxy, set, Mode::Live).is_some())
                };
                if !touches(&before) && !touches(&after) {
                    let key = |set| Matched::of(&proxy, set, Mode::Live).key();
                    prop_assert_eq!(key(&before), key(&after));
                }
            }
        }
    }

    #[test]
    fn a_policy_of_lower_precedence_changes_no_scalar_that_is_set(policies in several(), lower in conf()) {
        // A policy for the whole mesh from the global control plane with the last name is below all others.
        let lowest = timeout(
            "zzz",
            &[(ORIGIN, "global")],
            json!({ "to": [{ "targetRef": { "kind": "Mesh" }, "default": lower }] }),
        );
        let rest = policies.iter().flat_map(|policy| &policy.to);
        for item in rest {
            prop_assert!(lowest.to[0].contribution.precedence < item.contribution.precedence);
        }
        let before = effective(policies.clone());
        let after = effective(policies.into_iter().chain([lowest]));
        for (service, section) in [(checkout(), "http"), (checkout(), "admin"), (redis("east"), "metrics")] {
            let kind = PolicyKind::MeshTimeout;
            let (mut set_before, mut set_after) = (BTreeMap::new(), BTreeMap::new());
            if let Some(found) = before.to(kind, &service, section, &[]) {
                scalars(&found.conf, "", &mut set_before);
            }
            scalars(&after.to(kind, &service, section, &[]).unwrap().conf, "", &mut set_after);
            for (pointer, value) in set_before {
                prop_assert_eq!(set_after.get(&pointer), Some(&value), "{}", pointer);
            }
        }
    }

    #[test]
    fn every_value_was_decided_by_an_item_that_says_it(policies in several()) {
        let Some(found) = effective(policies.clone()).to(PolicyKind::MeshTimeout, &checkout(), "http", &[]) else {
            return Ok(());
        };
        let mut set = BTreeMap::new();
        scalars(&found.conf, "", &mut set);
        for (pointer, value) in set {
            let origin = found.decided_by(&pointer).unwrap();
            let policy = policies.iter().find(|policy| policy.id == origin.policy).unwrap();
            prop_assert_eq!(policy.resource.spec["to"][origin.index]["default"].pointer(&pointer), Some(&value));
        }
    }

    /// The list of rules, of which the first match decides, says the same as merging all items that match the client.
    #[test]
    fn the_first_rule_that_matches_carries_all_items_that_match(items in incoming(), client in client()) {
        let items: Vec<_> = items.iter().collect();
        let kind = PolicyKind::MeshFaultInjection;
        let rules = InboundRules::of_items(kind, &items);
        prop_assert!(rules.is_complete);
        let matching = items.iter().filter(|item| item.clients.matches(&client));
        let direct = meshspan_policy::Effective::of(kind, matching.map(|item| item.contribution.clone()));
        prop_assert_eq!(rules.for_client(&client), direct.as_ref());
    }

    /// Whatever a user or a peer sends is either refused or works.
    #[test]
    fn no_document_is_too_strange(kind in select(PolicyKind::ALL.to_vec()), spec in strange(), labels in labels()) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        match try_policy(kind, "p", &labels, spec) {
            Err(violations) => {
                prop_assert!(!violations.is_empty());
                prop_assert!(violations.iter().all(|violation| violation.field.starts_with("spec")));
            }
            Ok(policy) => {
                let all = effective([policy.clone()]);
                for section in ["http", "6379", ""] {
                    let found = all.to(kind, &checkout(), section, std::slice::from_ref(&policy.id));
                    if let Some(found) = found {
                        let _ = found.rule_origins();
                    }
                }
                let _ = dangling(&policy, &set([policy.clone()]), &services());
            }
        }
    }

    #[test]
    fn documents_survive_json(policies in several()) {
        for policy in policies {
            let spec = &policy.resource.spec;
            let document = Document::parse(spec, &mut Vec::new()).unwrap();
            let written = serde_json::to_value(&document).unwrap();
            prop_assert_eq!(Document::parse(&written, &mut Vec::new()).unwrap(), document);
            prop_assert_eq!(&written, spec);
        }
    }
}
