//! Random policies: what the matrix allows around random confs.

use meshspan_model::policy::{Part, PolicyInfo, PolicyKind, Routing, TargetKind};
use serde_json::{Value, json};

use crate::confs::{KINDS, MakeConf, Place};
use crate::names::{MESH, MULTI_ZONE, ROUTES, SECTIONS, SERVICES, ZONE};
use crate::random::Random;

/// Some policies of any kinds.
pub fn documents(random: &mut Random) -> Vec<Value> {
    let mut documents = Vec::new();
    for (kind, conf) in KINDS {
        for number in 0..random.below(3) {
            documents.push(document(random, *kind, *conf, number));
        }
    }
    documents
}

/// One policy.
pub fn document(random: &mut Random, kind: PolicyKind, conf: MakeConf, number: usize) -> Value {
    let info = kind.info();
    let mut labels = json!({ "kuma.io/origin": "global" });
    if random.chance(50) {
        labels = json!({ "kuma.io/origin": "zone", "kuma.io/zone": ZONE });
    }
    if random.chance(5) {
        labels["kuma.io/effect"] = "shadow".into();
    }
    let name = match kind {
        PolicyKind::MeshHTTPRoute => ROUTES[number % ROUTES.len()].to_owned(),
        _ => format!("policy-{number}"),
    };
    json!({ "type": kind.name(), "mesh": MESH, "name": name, "labels": labels, "spec": spec(random, info, conf) })
}

fn spec(random: &mut Random, info: &PolicyInfo, conf: MakeConf) -> Value {
    let top = top_kind(random, info);
    let mut spec = json!({});
    if top != TargetKind::Mesh || random.chance(70) {
        spec["targetRef"] = top_ref(random, top);
    }
    let (mut to, mut from, mut rules) = (!info.to.is_empty(), !info.from.is_empty(), info.rules);
    if info.from_for_proxies_only && top == TargetKind::MeshHTTPRoute {
        from = false;
    }
    // The old and the new form exclude each other.
    if from && rules {
        (from, rules) = if random.chance(50) {
            (true, false)
        } else {
            (false, true)
        };
    }
    if to && (from || rules) {
        let both = !(rules && info.rules_exclude_to) && random.chance(30);
        if !both {
            let outgoing = random.chance(60);
            to = outgoing;
            from &= !outgoing;
            rules &= !outgoing;
        }
    }
    let count = random.between(1, 3);
    if to {
        spec["to"] = (0..count).map(|_| to_item(random, info, top, conf)).collect();
    }
    if from {
        spec["from"] = (0..count).map(|_| from_item(random, info, top, conf)).collect();
    }
    if rules {
        spec["rules"] = (0..count).map(|_| rule(random, info, top, conf)).collect();
    }
    spec
}

/// Gateways are left out: there are none, so that such policies do nothing.
fn top_kind(random: &mut Random, info: &PolicyInfo) -> TargetKind {
    let kinds: Vec<_> = info
        .top
        .iter()
        .copied()
        .filter(|kind| *kind != TargetKind::MeshGateway)
        .collect();
    if random.chance(50) {
        TargetKind::Mesh
    } else {
        *random.pick(&kinds)
    }
}

fn top_ref(random: &mut Random, kind: TargetKind) -> Value {
    match kind {
        TargetKind::MeshSubset => json!({ "kind": "MeshSubset", "tags": tags(random) }),
        TargetKind::Dataplane => {
            let mut reference = json!({ "kind": "Dataplane", "labels": { "app": random.one_of(SERVICES) } });
            if random.chance(30) {
                reference["sectionName"] = random.one_of(&["http", "main", "other"]);
            }
            reference
        }
        TargetKind::MeshService => json!({ "kind": "MeshService", "name": random.one_of(SERVICES) }),
        TargetKind::MeshServiceSubset => {
            json!({ "kind": "MeshServiceSubset", "name": random.one_of(SERVICES), "tags": tags(random) })
        }
        TargetKind::MeshHTTPRoute => json!({ "kind": "MeshHTTPRoute", "name": random.one_of(ROUTES) }),
        _ => json!({ "kind": "Mesh" }),
    }
}

fn tags(random: &mut Random) -> Value {
    random.some(&[
        ("version", |random| random.one_of(&["v1", "v2"])),
        ("team", |random| random.one_of(&["shop", "core"])),
    ])
}

fn to_item(random: &mut Random, info: &PolicyInfo, top: TargetKind, conf: MakeConf) -> Value {
    let kind = *random.pick(info.to_below(top, |_| true));
    // Traffic to external services leaves by a proxy that all share.
    let is_too_narrow = kind == TargetKind::MeshExternalService && top != TargetKind::Mesh;
    let kind = if is_too_narrow && info.routing == Routing::None {
        TargetKind::Mesh
    } else {
        kind
    };
    let target = to_ref(random, kind);
    let reference = |field: &str| target.get(field).is_some();
    let place = Place {
        part: Part::To,
        top,
        to: TargetKind::from_name(target["kind"].as_str().unwrap()),
        narrow: reference("sectionName") || reference("labels"),
    };
    match info.routing {
        Routing::None => json!({ "targetRef": target, "default": conf(random, &place) }),
        Routing::Single => json!({ "targetRef": target, "rules": [conf(random, &place)] }),
        Routing::ByMatches => {
            let rules: Vec<_> = (0..random.between(1, 3)).map(|_| conf(random, &place)).collect();
            json!({ "targetRef": target, "rules": rules })
        }
    }
}

fn to_ref(random: &mut Random, kind: TargetKind) -> Value {
    let names = match kind {
        TargetKind::MeshMultiZoneService => MULTI_ZONE,
        TargetKind::MeshHTTPRoute => ROUTES,
        TargetKind::MeshService | TargetKind::MeshExternalService => SERVICES,
        _ => return json!({ "kind": "Mesh" }),
    };
    let mut reference = json!({ "kind": kind.name() });
    if random.chance(50) {
        reference["name"] = random.one_of(names);
    } else {
        reference["labels"] = json!({ "kuma.io/display-name": random.one_of(names) });
    }
    if random.chance(40) && matches!(kind, TargetKind::MeshService | TargetKind::MeshMultiZoneService) {
        reference["sectionName"] = random.one_of(SECTIONS);
    }
    reference
}

fn from_item(random: &mut Random, info: &PolicyInfo, top: TargetKind, conf: MakeConf) -> Value {
    let target = match random.pick(info.from) {
        TargetKind::MeshSubset => json!({ "kind": "MeshSubset", "tags": tags(random) }),
        TargetKind::MeshService => json!({ "kind": "MeshService", "name": random.one_of(SERVICES) }),
        TargetKind::MeshServiceSubset => {
            json!({ "kind": "MeshServiceSubset", "name": random.one_of(SERVICES), "tags": tags(random) })
        }
        _ => json!({ "kind": "Mesh" }),
    };
    json!({ "targetRef": target, "default": conf(random, &incoming(Part::From, top)) })
}

fn rule(random: &mut Random, info: &PolicyInfo, top: TargetKind, conf: MakeConf) -> Value {
    let mut rule = json!({ "default": conf(random, &incoming(Part::Rules, top)) });
    if info.rule_matches && random.chance(50) {
        rule["matches"] = json!([{ "spiffeID": { "type": "Exact", "value": "spiffe://default/web" } }]);
    }
    rule
}

fn incoming(part: Part, top: TargetKind) -> Place {
    Place {
        part,
        top,
        to: None,
        narrow: false,
    }
}
