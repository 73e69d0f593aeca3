//! Zones that a policy names and nobody knows.

use std::collections::BTreeSet;

use meshspan_model::Kind;
use meshspan_model::kinds::mesh_load_balancing_strategy::Conf;
use meshspan_model::kinds::zone_ingress::ZoneIngress;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::Policy;
use serde::Deserialize as _;

use super::Context;
use crate::settings::Mode;

/// A warning a name.
pub(super) fn warnings(context: &Context<'_>, policy: &Policy) -> Vec<String> {
    if policy.id.kind != PolicyKind::MeshLoadBalancingStrategy {
        return Vec::new();
    }
    let named: Vec<_> = policy.to.iter().flat_map(|item| named_by(&item.contribution)).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let known = known(context, &policy.id.mesh);
    let list = match known.is_empty() {
        true => "no zone is known".to_owned(),
        false => format!("known are {}", known.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    named
        .into_iter()
        .filter(|(_, zone)| !known.contains(zone))
        .map(|(field, zone)| format!("{field}: there is no zone \"{zone}\" at present; {list}"))
        .collect()
}

/// Fields and the zones in them.
fn named_by(contribution: &meshspan_policy::Contribution) -> Vec<(String, String)> {
    let Ok(conf) = Conf::deserialize(&contribution.conf) else {
        return Vec::new();
    };
    let cross_zone = conf.locality_awareness.and_then(|awareness| awareness.cross_zone);
    let failover = cross_zone
        .and_then(|cross_zone| cross_zone.failover)
        .unwrap_or_default();
    let mut named = Vec::new();
    for (index, rule) in failover.into_iter().enumerate() {
        let path = format!(
            "spec.to[{}].default.localityAwareness.crossZone.failover[{index}]",
            contribution.origin.index
        );
        let from = rule.from.map(|from| from.zones).unwrap_or_default();
        let to = rule.to.zones.unwrap_or_default();
        for (part, zones) in [("from", from), ("to", to)] {
            let fields = zones.into_iter().enumerate();
            named.extend(fields.map(|(place, zone)| (format!("{path}.{part}.zones[{place}]"), zone)));
        }
    }
    named
}

/// The global knows all zones; a zone knows itself and those from which it has something.
fn known(context: &Context<'_>, mesh: &str) -> BTreeSet<String> {
    let snapshot = context.snapshot;
    let Mode::Zone { name, .. } = &context.settings.mode else {
        return snapshot
            .list(Kind::Zone, None)
            .map(|stored| stored.resource.name.clone())
            .collect();
    };
    let services = snapshot
        .list(Kind::MeshService, Some(mesh))
        .map(|stored| stored.resource.zone().to_owned());
    let ingresses = snapshot.list(Kind::ZoneIngress, None);
    let ingresses = ingresses.filter_map(|stored| Some(stored.resource.parse::<ZoneIngress>().ok()?.zone));
    let mut known: BTreeSet<String> = services.chain(ingresses).collect();
    known.insert(name.clone());
    known.remove("");
    known
}
