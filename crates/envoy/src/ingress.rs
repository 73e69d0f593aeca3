//! Zone ingress: routes mesh TLS of other zones by server name, without ending it (`spec/dataplane.md` §3.4).
//!
//! Its clusters carry the names of the sidecars' but are others: no TLS of their own, and endpoints of this zone only.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meshspan_world::view::{Destination, Ingress, Reach};

use crate::destination::{eds_cluster, list_the_last_alone, load_assignment};
use crate::encode::Encoded;
use crate::network::{address, direct_response, network_filter, retry_connects, tcp_proxy, tls_inspector};
use crate::wkt::{flag, time};
use crate::{names, policies};
use meshspan_world::sni;

/// How long a client may take to send its server name.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// To proxies of the own zone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_ATTEMPTS: u32 = 5;
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Everything that an ingress needs, from the functions below; names are unique by type.
pub fn ingress(ingress: &Ingress) -> Vec<Encoded> {
    let mut seen = BTreeSet::new();
    let destinations = ingress
        .destinations
        .iter()
        .filter(|destination| seen.insert(&destination.key));
    let behind = destinations.flat_map(|destination| [ingress_cluster(destination), ingress_endpoints(destination)]);
    [ingress_listener(ingress)].into_iter().chain(behind).collect()
}

/// One destination in an ingress. Depends on nothing but the destination's name.
pub fn ingress_cluster(destination: &Destination) -> Encoded {
    Encoded::cluster(&Cluster {
        connect_timeout: time(CONNECT_TIMEOUT),
        circuit_breakers: Some(policies::default_limits()),
        outlier_detection: Some(policies::outlier::of_connections()),
        ..eds_cluster(names::destination(&destination.key))
    })
}

/// The destination's endpoints in this zone. Localities behind another ingress are left out: passing on what came from another
/// zone would make loops.
pub fn ingress_endpoints(destination: &Destination) -> Encoded {
    let local = destination
        .localities
        .iter()
        .filter(|locality| locality.reach == Reach::Direct);
    let mut assignment = load_assignment(names::destination(&destination.key), local);
    list_the_last_alone(&mut assignment);
    Encoded::endpoints(&assignment)
}

/// The listener: one chain for each destination with TLS. A server name that several destinations claim leads to the first of
/// them, because Envoy would reject the whole listener.
pub fn ingress_listener(ingress: &Ingress) -> Encoded {
    let name = names::ingress_listener(&ingress.name);
    let networking = &ingress.ingress.networking;
    // Other zones dial the advertised address, so a name that cannot be bound is no loss.
    let listen = networking
        .address
        .parse::<IpAddr>()
        .unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let mut listener = Listener {
        address: address(listen, networking.port),
        traffic_direction: TrafficDirection::Inbound.into(),
        enable_reuse_port: flag(true),
        listener_filters: vec![tls_inspector()],
        listener_filters_timeout: time(CLIENT_HELLO_TIMEOUT),
        filter_chains: chains(&name, ingress),
        ..Default::default()
    };
    if listener.filter_chains.is_empty() {
        // Envoy takes no listener without a chain; say who is here and close.
        let text = serde_json::json!({ "proxy": ingress.name, "zone": ingress.zone }).to_string();
        listener.listener_filters.clear();
        listener.filter_chains.push(FilterChain {
            filters: vec![direct_response(text)],
            ..Default::default()
        });
    }
    listener.name = name;
    Encoded::listener(&listener)
}

fn chains(listener: &str, ingress: &Ingress) -> Vec<FilterChain> {
    let mut taken = BTreeSet::new();
    let mut chains = Vec::new();
    for destination in &ingress.destinations {
        let Some(tls) = &destination.tls else { continue };
        let later_form = sni::kri_sni(&destination.key.service, &destination.key.section);
        let server_names: Vec<_> = [tls.sni.clone()]
            .into_iter()
            .chain(later_form)
            .filter(|name| taken.insert(name.clone()))
            .collect();
        if server_names.is_empty() {
            continue;
        }
        let cluster = names::destination(&destination.key);
        chains.push(FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                server_names,
                ..Default::default()
            }),
            filters: vec![proxy(listener, &cluster)],
            name: cluster,
            ..Default::default()
        });
    }
    chains
}

fn proxy(listener: &str, cluster: &str) -> Filter {
    let mut config = tcp_proxy(listener, cluster);
    config.idle_timeout = time(IDLE_TIMEOUT);
    retry_connects(&mut config, CONNECT_ATTEMPTS);
    network_filter("envoy.filters.network.tcp_proxy", config)
}
