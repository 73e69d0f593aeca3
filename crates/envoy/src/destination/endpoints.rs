//! Where a destination's traffic goes.

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality as EnvoyLocality};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use meshspan_model::policy::PolicyKind;
use meshspan_policy::{Fingerprint, Fingerprinter};
use meshspan_world::view::{Destination, DestinationPolicies, Endpoint, Locality};

use crate::encode::Encoded;
use crate::names;
use crate::network::address;
use crate::policies::{self, Towards};
use crate::wkt::uint;

/// Leave a zone when less than half of it is healthy.
const OVERPROVISIONING_FACTOR: u32 = 200;

/// The endpoints of a destination in sidecars.
///
/// Every zone is one locality of weight 1, so that zones of a priority share equally however many endpoints they have.
/// Unready endpoints stay in the list as unhealthy, unless one ready endpoint is left: only then does Envoy know how much of
/// a zone is left.
pub fn destination_endpoints(destination: &Destination, policies: &DestinationPolicies) -> Encoded {
    let name = names::destination(&destination.key);
    let mut assignment = load_assignment(name, destination.localities.iter());
    policies::endpoints(
        &Towards {
            destination,
            policies,
            source: None,
        },
        &mut assignment,
    );
    list_the_last_alone(&mut assignment);
    Encoded::endpoints(&assignment)
}

/// Stands for all of some policies that the endpoints of a destination depend on: policies of the same basis make the same
/// of them.
pub fn endpoints_basis(policies: &DestinationPolicies) -> Fingerprint {
    let mut basis = Fingerprinter::new();
    if let Some(strategy) = policies.confs.json(PolicyKind::MeshLoadBalancingStrategy) {
        basis.text("strategy").json(strategy);
    }
    for (key, value) in &policies.client.tags {
        basis.text("tag").text(key).text(value);
    }
    for tags in policies::omitted_tags(policies) {
        basis.text("omitted").number(tags.len() as u128);
        for (key, value) in &tags {
            basis.text(key).text(value);
        }
    }
    basis.finish()
}

/// An empty list is valid: requests get 503 and connections are reset, at once.
pub(crate) fn load_assignment<'a>(
    cluster_name: String,
    localities: impl Iterator<Item = &'a Locality>,
) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name,
        endpoints: localities
            .filter(|locality| !locality.endpoints.is_empty())
            .map(locality_endpoints)
            .collect(),
        policy: Some(Policy {
            overprovisioning_factor: uint(OVERPROVISIONING_FACTOR),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Leaves unready endpoints out where one ready endpoint is left. It gets all traffic in any case, but outlier detection, which
/// never ejects the last endpoint, counts unready ones among the others and would eject this one.
pub(crate) fn list_the_last_alone(assignment: &mut ClusterLoadAssignment) {
    let is_ready = |endpoint: &LbEndpoint| endpoint.health_status() == HealthStatus::Healthy;
    let all = assignment.endpoints.iter().flat_map(|group| &group.lb_endpoints);
    if all.filter(|endpoint| is_ready(endpoint)).count() == 1 {
        for group in &mut assignment.endpoints {
            group.lb_endpoints.retain(is_ready);
        }
        assignment.endpoints.retain(|group| !group.lb_endpoints.is_empty());
    }
}

fn locality_endpoints(locality: &Locality) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(EnvoyLocality {
            zone: locality.zone.clone(),
            ..Default::default()
        }),
        priority: locality.priority,
        load_balancing_weight: uint(1),
        lb_endpoints: locality.endpoints.iter().map(lb_endpoint).collect(),
        ..Default::default()
    }
}

/// A changed host name makes Envoy 1.40 replace the endpoint, and with it forget that outlier detection has ejected it. Without that,
/// an instance that returns stays out for the rest of its ejection although it is ready (measured: 4 to 19 seconds, against 0.2).
/// The name has no other use here: nothing rewrites authorities, and health checks have names of their own.
const UNREADY_HOSTNAME: &str = "unready";

pub(crate) fn lb_endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let (health, hostname) = if endpoint.ready {
        (HealthStatus::Healthy, "")
    } else {
        (HealthStatus::Unhealthy, UNREADY_HOSTNAME)
    };
    LbEndpoint {
        health_status: health.into(),
        host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(EnvoyEndpoint {
            address: address(endpoint.address, endpoint.port),
            hostname: hostname.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    }
}
