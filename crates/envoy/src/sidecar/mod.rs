//! The half of a sidecar's configuration that is its own: inbounds, local clusters, interception, explicit outbounds.
//!
//! Certificates are its own too, but change for other reasons: see [`crate::secrets`].

mod inbound;
mod passthrough;
mod ports;

use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_world::view::Sidecar;

use crate::destination::{fallback_clusters, outbound_listener};
use crate::encode::Encoded;
use ports::ports;

pub(crate) use ports::Port;

/// What a proxy's host makes necessary; known from its bootstrap request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    /// `SO_MARK` of Envoy's upstream sockets, by which interception excludes them; 0 for none. Must equal
    /// [`BootstrapParams::socket_mark`](crate::BootstrapParams::socket_mark), which covers the clusters that are not made here.
    pub socket_mark: u32,
    /// False if the host has no IPv6: Envoy would refuse a listener there.
    pub ipv6: bool,
    /// File with the CAs that the host's system trusts; `None` if there is none, or nobody has said.
    pub system_ca: Option<Arc<str>>,
}

/// Everything that one sidecar needs beside the destinations it shares and its secrets; names are unique by type.
///
/// An inbound that Envoy could not take is left out and keeps the others working; [`sidecar_problems`] says which.
pub fn sidecar(sidecar: &Sidecar, options: &ProxyOptions) -> Vec<Encoded> {
    let (ports, _) = ports(&sidecar.dataplane);
    let mut resources = Vec::new();
    for port in &ports {
        resources.push(inbound::listener(sidecar, port));
        for cluster in inbound::clusters(sidecar, port, options) {
            add(&mut resources, cluster);
        }
    }
    if let Some(settings) = &sidecar.dataplane.networking.transparent_proxying {
        for resource in passthrough::resources(settings, sidecar, options) {
            add(&mut resources, resource);
        }
    }
    for outbound in &sidecar.outbounds {
        add(&mut resources, outbound_listener(outbound));
        for cluster in fallback_clusters(outbound) {
            add(&mut resources, cluster);
        }
    }
    resources
}

/// Adds a resource unless there is one of that name: several parts may need the same one.
fn add(resources: &mut Vec<Encoded>, new: Encoded) {
    let same = |other: &Encoded| other.resource_type == new.resource_type && other.name == new.name;
    if !resources.iter().any(same) {
        resources.push(new);
    }
}

/// Why inbounds of a Dataplane are not served, or serve nobody, with field, value and remedy.
pub fn sidecar_problems(dataplane: &Dataplane) -> Vec<String> {
    ports(dataplane).1
}
