//! The endpoints of a destination by zone and closeness: priorities, weights, and when traffic leaves a priority.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Locality as EnvoyLocality;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};
use meshspan_model::kinds::mesh_load_balancing_strategy::{AffinityTag, FailoverThreshold, LocalityAwareness};
use meshspan_world::view::{Destination, Endpoint};

use super::tiers::{Tier, tiers};
use crate::destination::lb_endpoint;
use crate::wkt::uint;

/// Of the instances of the own zone that share no tag with the client, and of every other zone: these share equally
/// however many addresses their ingresses have.
const PLAIN_WEIGHT: u32 = 1;

/// Arranges the endpoints anew. Every locality gets a weight, since Envoy ignores localities without one among others
/// (`spec/dataplane.md` §11).
///
/// A MeshService lives in one zone: nothing that is said about other zones takes its endpoints away.
pub(super) fn arrange(
    awareness: &LocalityAwareness,
    destination: &Destination,
    client: &BTreeMap<String, String>,
    assignment: &mut ClusterLoadAssignment,
) {
    let spans_zones = destination.key.service.kind.spans_zones();
    let about_zones = spans_zones.then_some(awareness);
    let zones = destination.localities.iter().map(|locality| locality.zone.as_str());
    let tiers = tiers(&destination.zone, zones, about_zones);
    let tags = awareness
        .local_zone
        .as_ref()
        .and_then(|zone| zone.affinity_tags.as_deref())
        .unwrap_or_default();
    assignment.endpoints.clear();
    for locality in &destination.localities {
        let Some(Tier::Number(priority)) = tiers.get(locality.zone.as_str()).copied() else {
            continue;
        };
        let groups = if locality.zone == destination.zone {
            by_closeness(&locality.endpoints, tags, client)
        } else {
            vec![Group::plain(locality.endpoints.iter().collect())]
        };
        let groups = groups.into_iter().filter(|group| !group.endpoints.is_empty());
        assignment
            .endpoints
            .extend(groups.map(|group| group.build(&locality.zone, priority)));
    }
    let cross_zone = about_zones.and_then(|awareness| awareness.cross_zone.as_ref());
    if let Some(threshold) = cross_zone.and_then(|cross_zone| cross_zone.failover_threshold.as_ref()) {
        assignment.policy = Some(Policy {
            overprovisioning_factor: uint(overprovisioning_factor(threshold)),
            ..Default::default()
        });
    }
}

/// Endpoints of one zone that are equally close.
struct Group<'a> {
    sub_zone: String,
    weight: u32,
    endpoints: Vec<&'a Endpoint>,
}

impl<'a> Group<'a> {
    fn plain(endpoints: Vec<&'a Endpoint>) -> Self {
        Self {
            sub_zone: String::new(),
            weight: PLAIN_WEIGHT,
            endpoints,
        }
    }

    fn build(self, zone: &str, priority: u32) -> LocalityLbEndpoints {
        LocalityLbEndpoints {
            locality: Some(EnvoyLocality {
                zone: zone.to_owned(),
                sub_zone: self.sub_zone,
                ..Default::default()
            }),
            priority,
            load_balancing_weight: uint(self.weight),
            lb_endpoints: self.endpoints.into_iter().map(lb_endpoint).collect(),
            ..Default::default()
        }
    }
}

/// One group a tag, of the endpoints for which it is the first that they share with the client, and one of the rest.
fn by_closeness<'a>(
    endpoints: &'a [Endpoint],
    tags: &[AffinityTag],
    client: &BTreeMap<String, String>,
) -> Vec<Group<'a>> {
    let mut groups = Vec::with_capacity(tags.len() + 1);
    let mut rest: Vec<&Endpoint> = endpoints.iter().collect();
    for (tag, weight) in tags.iter().zip(weights(tags)) {
        let Some(value) = client.get(&tag.key) else { continue };
        let (close, further) = rest
            .into_iter()
            .partition(|endpoint| endpoint.tags.get(&tag.key) == Some(value));
        rest = further;
        groups.push(Group {
            sub_zone: format!("{}={value}", tag.key),
            weight,
            endpoints: close,
        });
    }
    groups.push(Group::plain(rest));
    groups
}

/// The weight of each tag: as given, else 9·10^(n-i-1) for the one at i of n, which makes 90%, 9% and so on.
///
/// Envoy refuses weights that add up to more than 32 bits; so do the checks of the policy, and here the first ones win.
fn weights(tags: &[AffinityTag]) -> Vec<u32> {
    let count = u32::try_from(tags.len()).unwrap_or(u32::MAX);
    let mut left = (u32::MAX - PLAIN_WEIGHT).saturating_sub(count);
    let unweighted = (0..count)
        .rev()
        .map(|power| 10u32.saturating_pow(power).saturating_mul(9));
    tags.iter()
        .zip(unweighted)
        .map(|(tag, by_place)| {
            let weight = tag.weight.unwrap_or(by_place).min(left);
            left -= weight;
            weight.max(1)
        })
        .collect()
}

/// Envoy lets traffic leave a priority when its healthy percentage times this factor is less than 100, so the factor in
/// percent is the inverse of the threshold, rounded.
fn overprovisioning_factor(threshold: &FailoverThreshold) -> u32 {
    let percentage = threshold.percentage.unwrap_or(FailoverThreshold::DEFAULT).value();
    // A float becomes the closest integer that there is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let factor = (10_000.0 / percentage).round() as u32;
    // Below 100 the whole priority could not carry its own traffic.
    factor.max(100)
}
