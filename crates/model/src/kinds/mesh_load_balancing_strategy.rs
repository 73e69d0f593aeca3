//! MeshLoadBalancingStrategy (`spec/policies.md` §2.5): how endpoints are chosen, within and across zones.

mod balancer;
mod hash_policy;
mod locality;

use serde::{Deserialize, Serialize};

use crate::policy::{Conf as PolicyConf, Place, PolicyKind, PolicySpec, TargetKind};
use crate::violation::Violations;

pub use balancer::{HashFunction, LeastRequest, LoadBalancer, LoadBalancerType, Maglev, Random, RingHash, RoundRobin};
pub use hash_policy::{Connection, Cookie, FilterState, HashPolicy, HashPolicyType, Header, QueryParameter};
pub use locality::{
    AffinityTag, CrossZone, Failover, FailoverThreshold, FromZones, LocalZone, LocalityAwareness, ToZones, ToZonesType,
};

/// How endpoints are chosen, within and across zones.
pub type MeshLoadBalancingStrategy = PolicySpec<Conf>;

/// Which zones, and which endpoints in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conf {
    /// Which zones and parts of the own zone come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_awareness: Option<LocalityAwareness>,
    /// How one of the endpoints that come into question is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    /// What [`LoadBalancerType::RingHash`] and [`LoadBalancerType::Maglev`] hash; goes before the lists within them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_policies: Option<Vec<HashPolicy>>,
}

impl Conf {
    /// What is hashed: the list of the conf itself, else the older one within the load balancer that is chosen.
    pub fn hash_policies(&self) -> &[HashPolicy] {
        let balancer = self.load_balancer.as_ref();
        let nested = match balancer.and_then(|balancer| balancer.kind) {
            Some(LoadBalancerType::RingHash) => balancer
                .and_then(|balancer| balancer.ring_hash.as_ref())
                .and_then(|ring_hash| ring_hash.hash_policies.as_ref()),
            Some(LoadBalancerType::Maglev) => balancer
                .and_then(|balancer| balancer.maglev.as_ref())
                .and_then(|maglev| maglev.hash_policies.as_ref()),
            _ => None,
        };
        self.hash_policies.as_ref().or(nested).map_or(&[], Vec::as_slice)
    }
}

impl PolicyConf for Conf {
    const KIND: PolicyKind = PolicyKind::MeshLoadBalancingStrategy;

    fn check(&self, place: &Place<'_>, violations: &mut Violations) {
        if place
            .target
            .is_some_and(|target| target.kind == TargetKind::MeshHTTPRoute.name())
        {
            for (field, is_set) in [
                ("localityAwareness", self.locality_awareness.is_some()),
                ("loadBalancer", self.load_balancer.is_some()),
            ] {
                if is_set {
                    violations.add(
                        place.field(field),
                        "must not be set for a MeshHTTPRoute: routes share the endpoints of their destinations; only \
                         hashPolicies may",
                    );
                }
            }
        }
        if let Some(awareness) = &self.locality_awareness {
            awareness.check(place, violations);
        }
        if let Some(balancer) = &self.load_balancer {
            balancer.check(&place.field("loadBalancer"), violations);
        }
        hash_policy::check_list(self.hash_policies.as_deref(), &place.field("hashPolicies"), violations);
    }
}
