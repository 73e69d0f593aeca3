//! Zone egress: the way out of a zone (`spec/dataplane.md` §3.4). To services outside the mesh it ends mutual TLS, asks who may
//! leave, and speaks what the service speaks; to other zones it forwards by server name, without ending TLS.

mod external;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meshspan_world::sni;
use meshspan_world::view::{Destination, Egress, EgressRoute, PeerTls};

use crate::destination::{eds_cluster, list_the_last_alone, load_assignment};
use crate::encode::Encoded;
use crate::network::{address, direct_response, network_filter, retry_connects, tcp_proxy, tls_inspector};
use crate::sidecar::ProxyOptions;
use crate::wkt::{flag, time};
use crate::{names, policies};

/// How long a client may take to send its server name.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// To ingresses of other zones.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_ATTEMPTS: u32 = 5;
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What all egresses share of a destination that lies in other zones: its cluster and endpoints. Empty for others.
pub fn egress_shared(destination: &Destination) -> Vec<Encoded> {
    let Some(EgressRoute::Zones(zones)) = &destination.egress else {
        return Vec::new();
    };
    let name = names::destination(&destination.key);
    let cluster = Encoded::cluster(&Cluster {
        connect_timeout: time(CONNECT_TIMEOUT),
        circuit_breakers: Some(policies::default_limits()),
        outlier_detection: Some(policies::outlier::of_connections()),
        ..eds_cluster(name.clone())
    });
    // All zones are equally far from here: the client has left its own.
    let mut assignment = load_assignment(name, zones.iter());
    for locality in &mut assignment.endpoints {
        locality.priority = 0;
    }
    list_the_last_alone(&mut assignment);
    vec![cluster, Encoded::endpoints(&assignment)]
}

/// What is an egress's own: its listener, and the way to services outside the mesh with their certificates.
pub fn egress(egress: &Egress, options: &ProxyOptions) -> Vec<Encoded> {
    let mut resources = vec![egress_listener(egress)];
    for destination in &egress.destinations {
        if let Some(EgressRoute::External(external)) = &destination.egress {
            resources.extend(external::resources(destination, external, options));
        }
    }
    resources
}

/// The meshes whose identity an egress shows: those of the services outside the mesh that lie behind it.
pub fn egress_meshes(egress: &Egress) -> BTreeSet<&str> {
    let ends_tls = |destination: &&std::sync::Arc<Destination>| match destination.egress {
        Some(EgressRoute::External(_)) => true,
        Some(EgressRoute::Zones(_)) | None => false,
    };
    let external = egress.destinations.iter().filter(ends_tls);
    external
        .map(|destination| destination.key.service.mesh.as_str())
        .collect()
}

/// One chain for each destination. A server name that several destinations claim leads to the first of them, because Envoy would
/// reject the whole listener.
fn egress_listener(egress: &Egress) -> Encoded {
    let name = names::egress_listener(&egress.name);
    let networking = &egress.egress.networking;
    let listen = networking.address.parse::<IpAddr>();
    let mut listener = Listener {
        address: address(listen.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), networking.port),
        traffic_direction: TrafficDirection::Inbound.into(),
        enable_reuse_port: flag(true),
        listener_filters: vec![tls_inspector()],
        listener_filters_timeout: time(CLIENT_HELLO_TIMEOUT),
        filter_chains: chains(&name, egress),
        ..Default::default()
    };
    if listener.filter_chains.is_empty() {
        // Envoy takes no listener without a chain; say who is here and close.
        let text = serde_json::json!({ "proxy": egress.name, "zone": egress.zone }).to_string();
        listener.listener_filters.clear();
        listener.filter_chains.push(FilterChain {
            filters: vec![direct_response(text)],
            ..Default::default()
        });
    }
    listener.name = name;
    Encoded::listener(&listener)
}

fn chains(listener: &str, egress: &Egress) -> Vec<FilterChain> {
    let mut taken = BTreeSet::new();
    let mut chains = Vec::new();
    for destination in &egress.destinations {
        let (Some(tls), Some(route)) = (&destination.tls, &destination.egress) else {
            continue;
        };
        let server_names: Vec<_> = server_names(destination, tls)
            .filter(|name| taken.insert(name.clone()))
            .collect();
        if server_names.is_empty() {
            continue;
        }
        let name = names::destination(&destination.key);
        let chain = match route {
            EgressRoute::Zones(_) => FilterChain {
                filters: vec![onwards(listener, &name)],
                ..Default::default()
            },
            EgressRoute::External(external) => external::chain(destination, external),
        };
        chains.push(FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                server_names,
                ..Default::default()
            }),
            name,
            ..chain
        });
    }
    chains
}

fn server_names(destination: &Destination, tls: &PeerTls) -> impl Iterator<Item = String> {
    let later_form = sni::kri_sni(&destination.key.service, &destination.key.section);
    [tls.sni.clone()].into_iter().chain(later_form)
}

/// To an ingress of another zone.
fn onwards(listener: &str, cluster: &str) -> Filter {
    let mut config = tcp_proxy(listener, cluster);
    config.idle_timeout = time(IDLE_TIMEOUT);
    retry_connects(&mut config, CONNECT_ATTEMPTS);
    network_filter("envoy.filters.network.tcp_proxy", config)
}
