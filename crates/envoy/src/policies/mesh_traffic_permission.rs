//! Who may call whom (`spec/policies.md` §2.8), decided where clients have an identity: in chains with mesh TLS.
//!
//! Without a policy nobody may. A client that no rule is about may not either.
//!
//! Connections are decided at the client's first byte: what a server says before that, in protocols where it speaks first, reaches
//! every identity of the mesh.

mod clients;
mod rbac;

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use meshspan_model::kinds::mesh_traffic_permission::Conf;
use meshspan_model::policy::PolicyKind;
use meshspan_policy::InboundRules;
use meshspan_world::view::EgressAccess;

use super::{Effect, Incoming};
use crate::names;
use crate::parts::Chain;
use clients::Decisions;

/// [`Effect`] of the kind.
pub(crate) struct MeshTrafficPermission;

impl Effect for MeshTrafficPermission {
    type Conf = Conf;

    fn inbound(rules: Option<&InboundRules>, from: &Incoming<'_>, chain: &mut Chain<'_>) {
        if !from.has_identity {
            return;
        }
        let decisions = rules.map_or_else(Decisions::default, |rules| Decisions::of(rules, &from.sidecar.mesh));
        decide(decisions, &names::inbound(&from.port.section), chain);
    }
}

/// Who may leave the mesh through a chain of an egress.
pub(crate) fn leaving(access: &EgressAccess, mesh: &str, listener: &str, chain: &mut Chain<'_>) {
    let decisions = match access {
        EgressAccess::Everybody => return,
        EgressAccess::Nobody => Decisions::default(),
        EgressAccess::Permitted(policies) => policies
            .get(&PolicyKind::MeshTrafficPermission)
            .map_or_else(Decisions::default, |rules| Decisions::of(rules, mesh)),
    };
    if let Chain::Tcp(tcp) = chain
        && decisions.allowed.is_empty()
    {
        // Envoy decides at the client's first byte, and a server may speak before: nobody is let through to it.
        tcp.proxy.cluster_specifier = Some(ClusterSpecifier::Cluster(names::NO_CLUSTER.to_owned()));
    }
    decide(decisions, listener, chain);
}

fn decide(decisions: Decisions, listener: &str, chain: &mut Chain<'_>) {
    match chain {
        Chain::Http(http) => {
            http.filters.splice(0..0, rbac::http(decisions));
        }
        Chain::Tcp(tcp) => {
            tcp.filters.splice(0..0, rbac::network(listener, decisions));
        }
    }
}
