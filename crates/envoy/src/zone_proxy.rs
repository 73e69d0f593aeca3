//! What zone ingresses and egresses have in common: one listener that tells destinations apart by server name, and passes TLS on to
//! other proxies without ending it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TrafficDirection;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meshspan_world::sni;
use meshspan_world::view::Destination;

use crate::destination::eds_cluster;
use crate::encode::Encoded;
use crate::network::{address, direct_response, network_filter, retry_connects, tcp_proxy, tls_inspector};
use crate::wkt::{flag, time};
use crate::{names, policies};

/// How long a client may take to send its server name.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// To other proxies.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_ATTEMPTS: u32 = 5;
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Who listens, and where.
pub(crate) struct ZoneListener<'a> {
    /// Name of the listener.
    pub(crate) name: String,
    /// Name of the proxy.
    pub(crate) proxy: &'a str,
    pub(crate) zone: &'a str,
    /// Others dial by other means, so a name that cannot be bound is no loss.
    pub(crate) address: &'a str,
    pub(crate) port: u32,
}

impl ZoneListener<'_> {
    /// The listener with these chains. Envoy takes none without a chain: such a one says who is here and closes.
    pub(crate) fn with(self, filter_chains: Vec<FilterChain>) -> Encoded {
        let listen = self.address.parse::<IpAddr>();
        let mut listener = Listener {
            address: address(listen.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.port),
            traffic_direction: TrafficDirection::Inbound.into(),
            enable_reuse_port: flag(true),
            listener_filters: vec![tls_inspector()],
            listener_filters_timeout: time(CLIENT_HELLO_TIMEOUT),
            filter_chains,
            name: self.name,
            ..Default::default()
        };
        if listener.filter_chains.is_empty() {
            let text = serde_json::json!({ "proxy": self.proxy, "zone": self.zone }).to_string();
            listener.listener_filters.clear();
            listener.filter_chains.push(FilterChain {
                filters: vec![direct_response(text)],
                ..Default::default()
            });
        }
        Encoded::listener(&listener)
    }
}

/// One chain for each destination with TLS of which `chain` makes one. A server name that several destinations claim leads to the
/// first of them, because Envoy would reject the whole listener.
pub(crate) fn chains<'a>(
    destinations: impl Iterator<Item = &'a Destination>,
    chain: impl Fn(&'a Destination) -> Option<FilterChain>,
) -> Vec<FilterChain> {
    let mut taken = BTreeSet::new();
    let mut chains = Vec::new();
    for destination in destinations {
        let Some(tls) = &destination.tls else { continue };
        let Some(chain) = chain(destination) else { continue };
        let later_form = sni::kri_sni(&destination.key.service, &destination.key.section);
        let server_names: Vec<_> = [tls.sni.clone()]
            .into_iter()
            .chain(later_form)
            .filter(|name| taken.insert(name.clone()))
            .collect();
        if server_names.is_empty() {
            continue;
        }
        chains.push(FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                transport_protocol: "tls".to_owned(),
                server_names,
                ..Default::default()
            }),
            name: names::destination(&destination.key),
            ..chain
        });
    }
    chains
}

/// Passes connections on to the proxies of a destination.
pub(crate) fn onwards(listener: &str, destination: &Destination) -> FilterChain {
    let mut config = tcp_proxy(listener, &names::destination(&destination.key));
    config.idle_timeout = time(IDLE_TIMEOUT);
    retry_connects(&mut config, CONNECT_ATTEMPTS);
    let filter: Filter = network_filter("envoy.filters.network.tcp_proxy", config);
    FilterChain {
        filters: vec![filter],
        ..Default::default()
    }
}

/// The proxies of a destination. Depends on nothing but the destination's name.
pub(crate) fn cluster(destination: &Destination) -> Encoded {
    Encoded::cluster(&Cluster {
        connect_timeout: time(CONNECT_TIMEOUT),
        circuit_breakers: Some(policies::default_limits()),
        outlier_detection: Some(policies::outlier::of_connections()),
        ..eds_cluster(names::destination(&destination.key))
    })
}
