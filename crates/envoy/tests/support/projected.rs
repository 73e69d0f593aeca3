//! What is projected, as JSON: for tests of single fields.

use std::sync::Arc;

use meshspan_envoy::{Encoded, ResourceType, destination_cluster, destination_endpoints, outbound_listener};
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{Destination, DestinationPolicies, InboundTls, Protocol};
use serde_json::{Value, json};

use super::inputs::*;

/// The cluster of a destination.
pub fn cluster(destination: &Destination, policies: &DestinationPolicies) -> Value {
    destination_cluster(destination, policies).to_json().unwrap()
}

/// The endpoints of a destination.
pub fn endpoints(destination: &Destination, policies: &DestinationPolicies) -> Value {
    destination_endpoints(destination, policies).to_json().unwrap()
}

/// The connection manager or TCP proxy of a destination.
pub fn outbound_filter(destination: &Destination, policies: &DestinationPolicies) -> Value {
    let outbound = outbound_with(destination, policies, LOCALHOST, 80, true);
    filters(&outbound_listener(&outbound)).remove(0)
}

/// The action of the first route of a destination.
pub fn route_action(destination: &Destination, policies: &DestinationPolicies) -> Value {
    first_route(&outbound_filter(destination, policies))["route"].clone()
}

/// The first route of a connection manager.
pub fn first_route(manager: &Value) -> &Value {
    &manager["routeConfig"]["virtualHosts"][0]["routes"][0]
}

/// The cluster of an application behind a Permissive inbound, and the connection manager or TCP proxy of each chain.
pub fn inbound_with(protocol: Protocol, policies: &[(PolicyKind, Value)]) -> (Value, Vec<Value>) {
    let mut proxy = sidecar("backend-1", vec![inbound("backend", "main", 8080, 80, protocol)]);
    proxy.inbound_tls = InboundTls::Permissive;
    let allow = (
        PolicyKind::MeshTrafficPermission,
        json!({ "rules": [{ "default": { "action": "Allow" } }] }),
    );
    let all: Vec<_> = policies.iter().cloned().chain([allow]).collect();
    proxy.inbound_policies = vec![Arc::clone(&inbound_policies(&all))];
    let resources = meshspan_envoy::sidecar(&proxy, &OPTIONS);
    let find = |resource_type| {
        let mut found = resources.iter().filter(|one| one.resource_type == resource_type);
        found.find(|one| &*one.name == "self_inbound_dp_main").unwrap()
    };
    let cluster = find(ResourceType::Cluster).to_json().unwrap();
    (cluster, filters(find(ResourceType::Listener)))
}

/// Options of the HTTP connections of a cluster.
pub fn http_options(cluster: &Value) -> &Value {
    &cluster["typedExtensionProtocolOptions"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
}

/// The last filter of each chain.
fn filters(listener: &Encoded) -> Vec<Value> {
    let listener = listener.to_json().unwrap();
    let chains = listener["filterChains"].as_array().unwrap();
    chains
        .iter()
        .map(|chain| chain["filters"].as_array().unwrap().last().unwrap()["typedConfig"].clone())
        .collect()
}
