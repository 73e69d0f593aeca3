//! TLS of inbounds, and who may call whom.

use meshspan_model::policy::{Part, TargetKind};
use serde_json::{Value, json};

use super::Place;
use crate::names;
use crate::random::Random;

pub fn tls(random: &mut Random, place: &Place) -> Value {
    let mut conf = random.maybe(&[("mode", |random| random.one_of(&["Strict", "Permissive"]))]);
    if place.top != TargetKind::Mesh {
        return conf;
    }
    if random.chance(50) {
        let versions = ["TLS10", "TLS11", "TLS12", "TLS13"];
        let (first, second) = (random.below(4), random.below(4));
        conf["tlsVersion"] = match random.below(4) {
            0 => json!({ "min": versions[first] }),
            1 => json!({ "max": versions[first.max(2)] }),
            2 => json!({ "min": "TLSAuto", "max": "TLSAuto" }),
            _ => json!({ "min": versions[first.min(second)], "max": versions[first.max(second).max(2)] }),
        };
    }
    if random.chance(50) {
        let ciphers = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]
            .iter()
            .flat_map(|cipher| [format!("ECDHE-ECDSA-{cipher}"), format!("ECDHE-RSA-{cipher}")])
            .collect::<Vec<_>>();
        conf["tlsCiphers"] = random.several(&ciphers, 1).into();
    }
    conf
}

pub fn traffic_permission(random: &mut Random, place: &Place) -> Value {
    if place.part == Part::From {
        return json!({ "action": random.one_of(&["Allow", "Deny", "AllowWithShadowDeny"]) });
    }
    random.some(&[("deny", clients), ("allow", clients), ("allowWithShadowDeny", clients)])
}

fn clients(random: &mut Random) -> Value {
    random.list(1, 3, |random| {
        let service = random.pick(names::SERVICES);
        match random.below(4) {
            0 => json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } }),
            1 => json!({ "spiffeID": { "type": "Prefix", "value": "spiffe://default/a" } }),
            2 => json!({
                "spiffeID": { "type": "Exact", "value": format!("spiffe://default/{service}") },
                "sni": { "type": "Exact", "value": "web.default.mesh" },
            }),
            _ => json!({ "spiffeID": { "type": "Exact", "value": format!("spiffe://default/{service}") } }),
        }
    })
}
