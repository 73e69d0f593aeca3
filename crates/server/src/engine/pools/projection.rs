//! What a destination becomes under one set of policies.

use std::sync::Arc;

use meshspan_envoy::Encoded;
use meshspan_world::view::{Destination, DestinationPolicies, Outbound};

/// The resources of a destination.
#[derive(Clone)]
pub(in crate::engine) struct Projection {
    pub(super) endpoints: Encoded,
    /// Cluster, listener at the VIP, and clusters that the listener needs.
    pub(super) others: Vec<Encoded>,
}

impl Projection {
    pub(in crate::engine) fn new(destination: &Arc<Destination>, policies: &Arc<DestinationPolicies>) -> Self {
        Self {
            endpoints: meshspan_envoy::destination_endpoints(destination, policies),
            others: others(destination, policies),
        }
    }

    /// The resources, the listener at the VIP among them if there is one.
    pub(in crate::engine) fn all(&self) -> impl Iterator<Item = &Encoded> {
        self.others.iter().chain([&self.endpoints])
    }

    /// The resources for traffic that does not come to the VIP: by a route, or by a listener of its own.
    pub(in crate::engine) fn without_listener(&self) -> impl Iterator<Item = &Encoded> {
        self.all()
            .filter(|encoded| encoded.resource_type != meshspan_envoy::ResourceType::Listener)
    }
}

/// Everything but the endpoints.
pub(super) fn others(destination: &Arc<Destination>, policies: &Arc<DestinationPolicies>) -> Vec<Encoded> {
    let mut resources = vec![meshspan_envoy::destination_cluster(destination, policies)];
    if let Some(address) = destination.vip {
        resources.push(meshspan_envoy::outbound_listener(&Outbound {
            address,
            port: destination.port,
            bind: false,
            destination: destination.clone(),
            policies: policies.clone(),
            fallbacks: Vec::new(),
            source: None,
        }));
    }
    resources.extend(meshspan_envoy::outbound_clusters(destination, policies));
    resources
}

/// True if clusters and listeners come out the same: where traffic goes is all that differs.
pub(super) fn same_but_endpoints(before: &Destination, after: &Destination) -> bool {
    let rest = |destination: &Destination| Destination {
        localities: Vec::new(),
        ..destination.clone()
    };
    before.goes_through_ingress() == after.goes_through_ingress() && rest(before) == rest(after)
}
