//! Counters of the whole control plane.

use meshspan_model::document::timestamp;
use meshspan_model::kinds::dataplane_insight::{connections, is_online};
use meshspan_model::kinds::zone::Zone;
use meshspan_model::kinds::zone_insight::ZoneInsight;
use meshspan_model::policy::PolicyKind;
use meshspan_model::{Kind, ProxyKind, Resource, ResourceKey};
use meshspan_store::Snapshot;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::health::{Counts, Proxy, ProxyType, proxies};
use super::service;

/// `/global-insight` (`spec/http-api.md` §3.3).
pub(super) fn counters(snapshot: &Snapshot, now: OffsetDateTime) -> Value {
    let proxies = proxies(snapshot, None);
    let proxies_of =
        |wanted: ProxyType| -> Vec<&Proxy> { proxies.iter().filter(|proxy| proxy.proxy_type() == wanted).collect() };
    let dataplanes = |wanted: ProxyType| Counts::of(proxies_of(wanted).into_iter().map(Proxy::status)).to_json();
    let all_services = service::all(snapshot);
    let services = |wanted: ProxyType| service::counts(&all_services, wanted).to_json();
    let zones = online(snapshot, Kind::Zone, zone_is_online);
    let proxies_online = |proxy: ProxyKind| {
        online(snapshot, proxy.resource(), |resource, snapshot| {
            proxy_is_online(proxy, resource, snapshot)
        })
    };
    let external = snapshot.list(Kind::MeshExternalService, None).count();
    let mut resources = Map::new();
    let mut policies = 0;
    for kind in Kind::ALL.iter().copied().filter(|kind| kind.info().in_api) {
        let total = snapshot.list(kind, None).count();
        resources.insert(kind.name().to_owned(), json!({ "total": total }));
        if PolicyKind::of(kind).is_some() {
            policies += total;
        }
    }
    json!({
        "createdAt": timestamp(now),
        "services": {
            "external": {"total": external},
            "internal": services(ProxyType::Standard),
            "gatewayBuiltin": services(ProxyType::GatewayBuiltin),
            "gatewayDelegated": services(ProxyType::GatewayDelegated),
        },
        "zones": {
            "controlPlanes": zones,
            "zoneIngresses": proxies_online(ProxyKind::ZoneIngress),
            "zoneEgresses": proxies_online(ProxyKind::ZoneEgress),
        },
        "dataplanes": {
            "standard": dataplanes(ProxyType::Standard),
            "gatewayBuiltin": dataplanes(ProxyType::GatewayBuiltin),
            "gatewayDelegated": dataplanes(ProxyType::GatewayDelegated),
        },
        "policies": {"total": policies},
        "resources": resources,
        "meshes": {"total": snapshot.list(Kind::Mesh, None).count()},
    })
}

/// `/global-insights`: how many resources there are of each global kind.
pub(super) fn totals(snapshot: &Snapshot, now: OffsetDateTime) -> Value {
    let kinds = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.info().in_api && !kind.is_mesh_scoped());
    let resources: Map<String, Value> = kinds
        .map(|kind| {
            (
                kind.name().to_owned(),
                json!({"total": snapshot.list(kind, None).count()}),
            )
        })
        .collect();
    json!({"type": "GlobalInsights", "creationTime": timestamp(now), "resources": resources})
}

/// `/status/zones`: whether each zone is connected and enabled; null without zones.
pub(super) fn zone_status(snapshot: &Snapshot) -> Value {
    let zones: Vec<Value> = snapshot
        .list(Kind::Zone, None)
        .map(|stored| {
            let enabled = stored.resource.parse::<Zone>().is_ok_and(|zone| zone.is_enabled());
            json!({"name": stored.resource.name, "active": enabled && zone_is_online(&stored.resource, snapshot)})
        })
        .collect();
    if zones.is_empty() {
        Value::Null
    } else {
        Value::Array(zones)
    }
}

fn online(snapshot: &Snapshot, kind: Kind, is_online: impl Fn(&Resource, &Snapshot) -> bool) -> Value {
    let all = snapshot.list(kind, None);
    let (mut total, mut online) = (0, 0);
    for stored in all {
        total += 1;
        online += u32::from(is_online(&stored.resource, snapshot));
    }
    json!({"online": online, "total": total})
}

fn zone_is_online(zone: &Resource, snapshot: &Snapshot) -> bool {
    let insight = snapshot.get(&ResourceKey {
        kind: Kind::ZoneInsight,
        ..zone.key()
    });
    insight
        .and_then(|stored| stored.resource.parse::<ZoneInsight>().ok())
        .is_some_and(|insight| insight.is_online())
}

fn proxy_is_online(proxy: ProxyKind, resource: &Resource, snapshot: &Snapshot) -> bool {
    let insight = snapshot.get(&ResourceKey {
        kind: proxy.insight(),
        ..resource.key()
    });
    insight.is_some_and(|stored| is_online(&connections(&stored.resource)))
}
