//! The effects of policies: one file a kind, and here the list of them.
//!
//! A destination or an inbound is built without any policy first (`destination/`, `sidecar/`), as parts; then each kind
//! changes these parts, in the order of [`PolicyKind::ALL`] (`spec/policies.md` §1.11); then the parts are encoded. What
//! applies where no policy says anything is the business of the kind that could have said it, so that every default
//! stands in one place.

mod header_match;
mod header_options;
mod mesh_access_log;
mod mesh_circuit_breaker;
mod mesh_health_check;
mod mesh_http_route;
mod mesh_load_balancing_strategy;
mod mesh_retry;
mod mesh_tcp_route;
mod mesh_timeout;
mod mesh_tls;
mod mesh_traffic_permission;
mod shares;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsParameters;
use meshspan_model::policy::Conf;
use meshspan_policy::InboundRules;
use meshspan_world::view::{Destination, DestinationPolicies, InboundPolicies, InboundTls, Sidecar, Source};

use crate::parts::{Chain, ClusterParts, RouteParts};
use crate::sidecar::Port;

pub(crate) use mesh_access_log::{SINK_CLUSTER, passthrough as passthrough_logs};
pub(crate) use mesh_circuit_breaker::{default_limits, outlier};
pub(crate) use mesh_retry::omitted_tags;
pub(crate) use mesh_tls::protocol as tls_protocol;
pub(crate) use mesh_traffic_permission::leaving;

/// Outgoing traffic to one destination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Towards<'a> {
    /// Where it goes.
    pub(crate) destination: &'a Destination,
    /// What policies say.
    pub(crate) policies: &'a DestinationPolicies,
    /// What access logs call the proxy; `None` where its node says that.
    pub(crate) source: Option<&'a Source>,
}

/// Incoming traffic of one inbound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    /// The proxy.
    pub(crate) sidecar: &'a Sidecar,
    /// The inbound.
    pub(crate) port: &'a Port,
    /// What policies say.
    pub(crate) policies: &'a InboundPolicies,
    /// True if clients show an identity of the mesh: the chain that ends mesh TLS.
    pub(crate) has_identity: bool,
}

/// How an inbound takes TLS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InboundTlsSettings {
    /// What clients must show.
    pub(crate) mode: InboundTls,
    /// Versions and ciphers of mesh TLS; Envoy's defaults if absent.
    pub(crate) parameters: Option<TlsParameters>,
}

/// What a kind of policies does. `conf` and `rules` are `None` where no policy of the kind applies; a field that is absent
/// in a conf has to come out like one that no policy mentions.
pub(crate) trait Effect {
    /// Its conf.
    type Conf: Conf;

    /// On the cluster of a destination.
    fn cluster(_conf: Option<&Self::Conf>, _to: &Towards<'_>, _parts: &mut ClusterParts) {}

    /// On the endpoints of a destination.
    fn endpoints(_conf: Option<&Self::Conf>, _to: &Towards<'_>, _assignment: &mut ClusterLoadAssignment) {}

    /// On the listener of a destination.
    fn outbound<'a>(_conf: Option<&Self::Conf>, _to: &Towards<'a>, _chain: &mut Chain<'a>) {}

    /// On each route of that listener, with the conf for the traffic of this route; after [`Effect::outbound`].
    fn route(_conf: Option<&Self::Conf>, _to: &Towards<'_>, _route: &mut RouteParts<'_>) {}

    /// Clusters that the listener of a destination needs beside the destinations of its mesh. Their names say what is in
    /// them: equal names of one kind mean equal clusters.
    fn outbound_clusters(_conf: Option<&Self::Conf>, _to: &Towards<'_>, _clusters: &mut Vec<Cluster>) {}

    /// On how an inbound takes TLS.
    fn inbound_tls(_rules: Option<&InboundRules>, _tls: &mut InboundTlsSettings) {}

    /// On each filter chain of an inbound.
    fn inbound(_rules: Option<&InboundRules>, _from: &Incoming<'_>, _chain: &mut Chain<'_>) {}

    /// On the cluster of the application behind an inbound.
    fn inbound_cluster(_rules: Option<&InboundRules>, _from: &Incoming<'_>, _parts: &mut ClusterParts) {}

    /// Clusters that the listener of an inbound needs; as [`Effect::outbound_clusters`], with other names.
    fn inbound_clusters(_rules: Option<&InboundRules>, _from: &Incoming<'_>, _clusters: &mut Vec<Cluster>) {}
}

/// The conf of rules that do not tell clients apart.
pub(crate) fn for_all<C: Conf>(rules: Option<&InboundRules>) -> Option<C> {
    C::deserialize(&rules?.for_all()?.conf).ok()
}

/// Calls `$run!(Effect)` for each kind, in the order in which they are applied.
macro_rules! each_effect {
    ($run:ident) => {
        $run!(mesh_http_route::MeshHTTPRoute);
        $run!(mesh_tcp_route::MeshTCPRoute);
        $run!(mesh_tls::MeshTLS);
        $run!(mesh_load_balancing_strategy::MeshLoadBalancingStrategy);
        $run!(mesh_access_log::MeshAccessLog);
        $run!(mesh_timeout::MeshTimeout);
        $run!(mesh_traffic_permission::MeshTrafficPermission);
        $run!(mesh_circuit_breaker::MeshCircuitBreaker);
        $run!(mesh_health_check::MeshHealthCheck);
        $run!(mesh_retry::MeshRetry);
    };
}

pub(crate) fn cluster(to: &Towards<'_>, parts: &mut ClusterParts) {
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::cluster(to.policies.confs.get().as_ref(), to, parts)
        };
    }
    each_effect!(run);
}

pub(crate) fn endpoints(to: &Towards<'_>, assignment: &mut ClusterLoadAssignment) {
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::endpoints(to.policies.confs.get().as_ref(), to, assignment)
        };
    }
    each_effect!(run);
}

pub(crate) fn outbound<'a>(to: &Towards<'a>, chain: &mut Chain<'a>) {
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::outbound(to.policies.confs.get().as_ref(), to, chain);
            if let Chain::Http(http) = chain {
                for route in &mut http.routes {
                    <$effect>::route(route.confs.get().as_ref(), to, route);
                }
            }
        };
    }
    each_effect!(run);
}

pub(crate) fn outbound_clusters(to: &Towards<'_>) -> Vec<Cluster> {
    let mut clusters = Vec::new();
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::outbound_clusters(to.policies.confs.get().as_ref(), to, &mut clusters)
        };
    }
    each_effect!(run);
    clusters
}

pub(crate) fn inbound_tls(policies: &InboundPolicies, mode: InboundTls) -> InboundTlsSettings {
    let mut tls = InboundTlsSettings { mode, parameters: None };
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::inbound_tls(rules::<$effect>(policies), &mut tls)
        };
    }
    each_effect!(run);
    tls
}

pub(crate) fn inbound(from: &Incoming<'_>, chain: &mut Chain<'_>) {
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::inbound(rules::<$effect>(from.policies), from, chain)
        };
    }
    each_effect!(run);
}

pub(crate) fn inbound_cluster(from: &Incoming<'_>, parts: &mut ClusterParts) {
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::inbound_cluster(rules::<$effect>(from.policies), from, parts)
        };
    }
    each_effect!(run);
}

pub(crate) fn inbound_clusters(from: &Incoming<'_>) -> Vec<Cluster> {
    let mut clusters = Vec::new();
    macro_rules! run {
        ($effect:ty) => {
            <$effect>::inbound_clusters(rules::<$effect>(from.policies), from, &mut clusters)
        };
    }
    each_effect!(run);
    clusters
}

fn rules<E: Effect>(policies: &InboundPolicies) -> Option<&InboundRules> {
    policies.get(&E::Conf::KIND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshspan_model::policy::PolicyKind;

    #[test]
    fn every_applied_kind_has_its_effect_in_the_order_of_application() {
        let mut kinds = Vec::new();
        macro_rules! run {
            ($effect:ty) => {
                kinds.push(<<$effect as Effect>::Conf as Conf>::KIND)
            };
        }
        each_effect!(run);
        let in_order: Vec<_> = PolicyKind::ALL
            .iter()
            .copied()
            .filter(|kind| !kind.info().stored_only)
            .collect();
        assert_eq!(kinds, in_order);
    }
}
