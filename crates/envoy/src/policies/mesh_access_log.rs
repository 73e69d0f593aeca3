//! Which requests and connections are logged, where and how (`spec/policies.md` §2.12).

mod line;
mod logger;
mod otel;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use meshspan_model::kinds::mesh_access_log::Conf;
use meshspan_model::labels::TAG_SERVICE;
use meshspan_policy::InboundRules;
use meshspan_world::view::Sidecar;

use super::{Effect, Incoming, Towards, for_all};
use crate::names;
use crate::parts::Chain;
use line::{Facts, LoggedSource, Protocol};
use otel::Side;

pub(crate) use logger::SINK_CLUSTER;

/// What Kuma calls everything outside of the mesh.
const PASS_THROUGH: &str = "pass_through";

/// [`Effect`] of the kind.
pub(crate) struct MeshAccessLog;

impl Effect for MeshAccessLog {
    type Conf = Conf;

    fn outbound<'a>(conf: Option<&Conf>, to: &Towards<'a>, chain: &mut Chain<'a>) {
        let key = &to.destination.key;
        let service = names::destination(key);
        add(
            conf,
            &outgoing(
                &key.service.mesh,
                to.source.map_or(LoggedSource::Node, LoggedSource::Known),
                &service,
            ),
            Side::Shared,
            chain,
        );
    }

    fn outbound_clusters(conf: Option<&Conf>, _to: &Towards<'_>, clusters: &mut Vec<Cluster>) {
        clusters.extend(otel::clusters(conf, Side::Shared));
    }

    fn inbound(rules: Option<&InboundRules>, from: &Incoming<'_>, chain: &mut Chain<'_>) {
        let inbound = from.sidecar.dataplane.networking.inbound.get(from.port.index);
        let own = inbound.and_then(|inbound| inbound.tags.get(TAG_SERVICE));
        let facts = Facts {
            mesh: &from.sidecar.mesh,
            direction: "INBOUND",
            source: LoggedSource::Peer,
            destination_service: own.unwrap_or(&from.sidecar.source.service),
        };
        add(for_all(rules).as_ref(), &facts, Side::Own, chain);
    }

    fn inbound_clusters(rules: Option<&InboundRules>, _from: &Incoming<'_>, clusters: &mut Vec<Cluster>) {
        clusters.extend(otel::clusters(for_all(rules).as_ref(), Side::Own));
    }
}

/// Logs of connections to destinations that the mesh does not know, and the clusters that they need.
pub(crate) fn passthrough(sidecar: &Sidecar) -> (Vec<AccessLog>, Vec<Cluster>) {
    let conf: Option<Conf> = sidecar.passthrough_confs.get();
    let facts = outgoing(&sidecar.mesh, LoggedSource::Known(&sidecar.source), PASS_THROUGH);
    (
        logger::loggers(conf.as_ref(), Protocol::Tcp, &facts, Side::Own),
        otel::clusters(conf.as_ref(), Side::Own),
    )
}

fn outgoing<'a>(mesh: &'a str, source: LoggedSource<'a>, destination_service: &'a str) -> Facts<'a> {
    Facts {
        mesh,
        direction: "OUTBOUND",
        source,
        destination_service,
    }
}

fn add(conf: Option<&Conf>, facts: &Facts<'_>, side: Side, chain: &mut Chain<'_>) {
    match chain {
        Chain::Http(http) => {
            let logs = logger::loggers(conf, Protocol::Http, facts, side);
            http.manager.access_log.extend(logs);
        }
        Chain::Tcp(tcp) => {
            let logs = logger::loggers(conf, Protocol::Tcp, facts, side);
            tcp.proxy.access_log.extend(logs);
        }
    }
}

#[cfg(test)]
mod tests;
