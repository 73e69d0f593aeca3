//! How long connections, requests and streams may take (`spec/policies.md` §2.1).

use std::time::Duration;

use meshspan_model::duration::GoDuration;
use meshspan_model::kinds::mesh_timeout::{Conf, Http};
use meshspan_policy::InboundRules;

use super::{Effect, Incoming, Towards, for_all};
use crate::parts::{Chain, ClusterParts, RouteParts};
use crate::wkt::{limit, time};

/// [`Effect`] of the kind.
pub(crate) struct MeshTimeout;

/// What applies where nothing is said, to destinations.
mod outbound {
    use super::{Duration, minutes};

    pub const CONNECT: Duration = Duration::from_secs(5);
    pub const IDLE: Duration = minutes(60);
    pub const REQUEST: Duration = Duration::from_secs(15);
    pub const STREAM_IDLE: Duration = minutes(30);
}

/// What applies where nothing is said, to the application.
mod inbound {
    use super::{Duration, minutes};

    pub const CONNECT: Duration = Duration::from_secs(10);
    pub const IDLE: Duration = minutes(120);
    pub const REQUEST: Duration = Duration::ZERO;
    pub const STREAM_IDLE: Duration = minutes(60);
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

impl Effect for MeshTimeout {
    type Conf = Conf;

    fn cluster(conf: Option<&Conf>, _to: &Towards<'_>, parts: &mut ClusterParts) {
        let conf = conf.cloned().unwrap_or_default();
        limit_cluster(&conf, outbound::CONNECT, outbound::IDLE, parts);
    }

    fn outbound<'a>(conf: Option<&Conf>, _to: &Towards<'a>, chain: &mut Chain<'a>) {
        let conf = conf.cloned().unwrap_or_default();
        limit_chain(&conf, outbound::IDLE, outbound::STREAM_IDLE, chain);
        // An application that keeps connections to its own proxy finds them open when it needs one.
        limit_idle_clients(Duration::ZERO, chain);
    }

    fn route(conf: Option<&Conf>, _to: &Towards<'_>, route: &mut RouteParts<'_>) {
        let conf = conf.cloned().unwrap_or_default();
        limit_route(&conf, outbound::REQUEST, route);
    }

    fn inbound(rules: Option<&InboundRules>, _from: &Incoming<'_>, chain: &mut Chain<'_>) {
        let conf: Conf = for_all(rules).unwrap_or_default();
        limit_chain(&conf, inbound::IDLE, inbound::STREAM_IDLE, chain);
        // Of a client whose host vanished nothing is heard any more.
        limit_idle_clients(or(conf.idle_timeout, inbound::IDLE), chain);
        if let Chain::Http(http) = chain {
            for route in &mut http.routes {
                limit_route(&conf, inbound::REQUEST, route);
            }
        }
    }

    fn inbound_cluster(rules: Option<&InboundRules>, _from: &Incoming<'_>, parts: &mut ClusterParts) {
        let conf: Conf = for_all(rules).unwrap_or_default();
        limit_cluster(&conf, inbound::CONNECT, inbound::IDLE, parts);
    }
}

fn or(value: Option<GoDuration>, default: Duration) -> Duration {
    value.map_or(default, |value| value.0)
}

fn http_of(conf: &Conf) -> Http {
    conf.http.clone().unwrap_or_default()
}

fn limit_cluster(conf: &Conf, connect: Duration, idle: Duration, parts: &mut ClusterParts) {
    parts.cluster.connect_timeout = time(or(conf.connection_timeout, connect));
    let Some(options) = &mut parts.http else { return };
    let http = http_of(conf);
    let common = options.common_http_protocol_options.get_or_insert_default();
    common.idle_timeout = time(or(conf.idle_timeout, idle));
    common.max_stream_duration = limit(http.max_stream_duration);
    common.max_connection_duration = limit(http.max_connection_duration);
}

fn limit_chain(conf: &Conf, idle: Duration, stream_idle: Duration, chain: &mut Chain<'_>) {
    match chain {
        Chain::Tcp(tcp) => tcp.proxy.idle_timeout = time(or(conf.idle_timeout, idle)),
        Chain::Http(chain) => {
            let http = http_of(conf);
            chain.manager.stream_idle_timeout = time(or(http.stream_idle_timeout, stream_idle));
            chain.manager.request_headers_timeout = limit(http.request_headers_timeout);
        }
    }
}

/// Limits connections without requests, from clients; 0 for no limit.
fn limit_idle_clients(idle: Duration, chain: &mut Chain<'_>) {
    if let Chain::Http(chain) = chain {
        let common = &mut chain.manager.common_http_protocol_options;
        common.get_or_insert_default().idle_timeout = time(idle);
    }
}

fn limit_route(conf: &Conf, request: Duration, route: &mut RouteParts<'_>) {
    let http = http_of(conf);
    if let Some(action) = route.action() {
        action.timeout = time(or(http.request_timeout, request));
        action.idle_timeout = http.stream_idle_timeout.and_then(|value| time(value.0));
    }
}
