//! Status of proxies (`spec/resources.md` §7).

use std::sync::Arc;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::dataplane::{GatewayType, InboundState};
use meshspan_model::kinds::dataplane_insight::{DataplaneInsight, is_online};
use meshspan_model::{Kind, Resource, ResourceKey};
use meshspan_store::Snapshot;
use serde_json::{Value, json};

/// Status of one proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Online,
    PartiallyDegraded,
    Offline,
}

/// A proxy with all that is known of it.
pub(crate) struct Proxy {
    pub(crate) resource: Arc<Resource>,
    pub(crate) dataplane: Dataplane,
    pub(crate) insight: DataplaneInsight,
}

/// What a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyType {
    Standard,
    GatewayBuiltin,
    GatewayDelegated,
}

/// The proxies of one mesh, or of all.
pub(crate) fn proxies(snapshot: &Snapshot, mesh: Option<&str>) -> Vec<Proxy> {
    snapshot
        .list(Kind::Dataplane, mesh)
        .filter_map(|stored| {
            let resource = Arc::clone(&stored.resource);
            let dataplane = resource.parse().ok()?;
            let key = ResourceKey {
                kind: Kind::DataplaneInsight,
                ..resource.key()
            };
            let insight = snapshot
                .get(&key)
                .and_then(|insight| insight.resource.parse().ok())
                .unwrap_or_default();
            Some(Proxy {
                resource,
                dataplane,
                insight,
            })
        })
        .collect()
}

impl Proxy {
    pub(crate) fn is_online(&self) -> bool {
        is_online(&self.insight.subscriptions)
    }

    /// Its status; gateways have no inbounds that could be unready.
    pub(crate) fn status(&self) -> Status {
        let networking = &self.dataplane.networking;
        if !self.is_online() {
            return Status::Offline;
        }
        let unready = networking
            .inbound
            .iter()
            .filter(|inbound| inbound.state != InboundState::Ignored && !self.insight.serves(inbound))
            .count();
        match unready {
            0 => Status::Online,
            _ if networking.gateway.is_some() => Status::Online,
            all if all == networking.inbound.len() => Status::Offline,
            _ => Status::PartiallyDegraded,
        }
    }

    pub(crate) fn proxy_type(&self) -> ProxyType {
        match self
            .dataplane
            .networking
            .gateway
            .as_ref()
            .map(|gateway| gateway.gateway_type)
        {
            None => ProxyType::Standard,
            Some(GatewayType::Builtin) => ProxyType::GatewayBuiltin,
            Some(GatewayType::Delegated) => ProxyType::GatewayDelegated,
        }
    }

    /// Its zone: the label, else the tag that its control plane sets.
    pub(crate) fn zone(&self) -> &str {
        let networking = &self.dataplane.networking;
        let tag_sets = networking.inbound.iter().map(|inbound| &inbound.tags);
        let mut tag_sets = tag_sets.chain(networking.gateway.iter().map(|gateway| &gateway.tags));
        match self.resource.zone() {
            "" => tag_sets
                .find_map(|tags| tags.get(meshspan_model::labels::TAG_ZONE))
                .map_or("", String::as_str),
            zone => zone,
        }
    }
}

/// Counts of proxies by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: u32,
    pub(crate) online: u32,
    pub(crate) offline: u32,
    pub(crate) partially_degraded: u32,
}

impl Counts {
    pub(crate) fn of(statuses: impl IntoIterator<Item = Status>) -> Self {
        let mut counts = Self::default();
        for status in statuses {
            counts.total += 1;
            *match status {
                Status::Online => &mut counts.online,
                Status::Offline => &mut counts.offline,
                Status::PartiallyDegraded => &mut counts.partially_degraded,
            } += 1;
        }
        counts
    }

    /// All four numbers, zeros too: clients rely on them.
    pub(crate) fn to_json(self) -> Value {
        let Self {
            total,
            online,
            offline,
            partially_degraded,
        } = self;
        json!({"total": total, "online": online, "offline": offline, "partiallyDegraded": partially_degraded})
    }
}
