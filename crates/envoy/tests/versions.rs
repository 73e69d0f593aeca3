//! Versions are functions of content.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_envoy::{
    Encoded, destination_cluster, destination_endpoints, ingress_cluster, ingress_endpoints, outbound_listener,
};
use meshspan_model::kinds::dataplane::IpFamilyMode;
use meshspan_model::policy::PolicyKind;
use meshspan_world::view::{Destination, DestinationPolicies, Endpoint, Locality, Protocol, Reach};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::inputs::*;

/// A tag that the client of [`strategy`] has too.
fn on_the_node() -> Arc<BTreeMap<String, String>> {
    Arc::new([("node".to_owned(), "1".to_owned())].into())
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    prop::collection::btree_set((1..60000u16, any::<bool>()), 0..4).prop_map(|all| {
        all.into_iter()
            .map(|(port, is_ready)| Endpoint {
                ready: is_ready,
                tags: if port % 2 == 0 { Arc::default() } else { on_the_node() },
                ..ready(port)
            })
            .collect()
    })
}

fn destinations() -> impl Strategy<Value = Destination> {
    let protocol = prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Http),
        Just(Protocol::Http2),
        Just(Protocol::Grpc)
    ];
    let ids = prop::option::of(prop::collection::btree_set("spiffe://default/[a-c]", 0..3));
    (("[a-b]", "[c-d]", protocol), ids, endpoints(), endpoints()).prop_map(
        |((name, section, protocol), ids, here, there)| {
            let mut one = destination(&name, &section, protocol);
            if let Some(ids) = ids {
                one = over_tls(one, &ids.iter().map(String::as_str).collect::<Vec<_>>());
            }
            let localities: Vec<Locality> = vec![own_zone(here), other_zone("west", there)];
            with_localities(one, localities)
        },
    )
}

/// Every field that lists something.
fn strategy() -> DestinationPolicies {
    let rules = json!([{ "to": { "type": "Only", "zones": ["west"] } }, { "to": { "type": "None" } }]);
    let mut strategy = policies([(
        PolicyKind::MeshLoadBalancingStrategy,
        json!({
            "localityAwareness": {
                "localZone": { "affinityTags": [{ "key": "node" }, { "key": "rack" }] },
                "crossZone": { "failover": rules, "failoverThreshold": { "percentage": 70 } },
            },
            "loadBalancer": { "type": "RingHash", "ringHash": { "minRingSize": 64 } },
            "hashPolicies": [
                { "type": "Cookie", "cookie": { "name": "session", "ttl": "1h" } },
                { "type": "Connection", "connection": { "sourceIP": true } },
            ],
        }),
    )]);
    strategy.client.tags = ["node", "rack"].map(|key| (key.to_owned(), "1".to_owned())).into();
    strategy
}

/// Everything of retries, breakers and health checks that Envoy has in lists, and what endpoints have to tell of it.
fn resilience() -> DestinationPolicies {
    let omit = |tags: Value| json!({ "predicate": "OmitHostsWithTags", "tags": tags });
    let selection = json!([
        omit(json!({ "kuma.io/zone": "east" })),
        omit(json!({ "kuma.io/zone": "west" })),
        omit(json!({ "kuma.io/zone": "east", "version": "v1" })),
        { "predicate": "OmitPreviousHosts" },
    ]);
    let retries = json!({
        "retryOn": ["5xx", "HttpMethodGet", "HttpMethodPut", "429", "503"],
        "retriableRequestHeaders": [{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }],
        "rateLimitedBackOff": { "resetHeaders": [{ "name": "retry-after", "format": "Seconds" }] },
        "hostSelection": selection,
    });
    let set = json!([{ "name": "a", "value": "1" }, { "name": "b", "value": "2" }]);
    let check = json!({ "requestHeadersToAdd": { "set": set }, "expectedStatuses": [200, 204] });
    policies([
        (
            PolicyKind::MeshRetry,
            json!({ "tcp": { "maxConnectAttempt": 2 }, "http": retries, "grpc": { "hostSelection": selection } }),
        ),
        (
            PolicyKind::MeshCircuitBreaker,
            json!({ "outlierDetection": { "detectors": { "totalFailures": {}, "successRate": {} } } }),
        ),
        (
            PolicyKind::MeshHealthCheck,
            json!({ "eventLogPath": "/dev/null", "http": check, "grpc": {}, "tcp": { "receive": ["YQ==", "Yg=="] } }),
        ),
    ])
}

fn project(destination: &Destination) -> Vec<Encoded> {
    let address = "243.0.0.1".parse().unwrap();
    vec![
        destination_cluster(destination, &strategy()),
        destination_endpoints(destination, &strategy()),
        outbound_listener(&outbound_with(destination, &strategy(), address, 80, false)),
        destination_cluster(destination, &resilience()),
        destination_endpoints(destination, &resilience()),
        outbound_listener(&outbound_with(destination, &resilience(), address, 80, false)),
        destination_cluster(destination, &default_policies()),
        destination_endpoints(destination, &default_policies()),
        outbound_listener(&outbound(destination, address, 80, false)),
        ingress_cluster(destination),
        ingress_endpoints(destination),
    ]
}

/// The endpoints that Envoy hears of: beside the last ready one, unready ones are left out. An ingress serves those of its own zone.
fn listed(destination: &Destination, by_ingress: bool) -> Vec<Locality> {
    let mut localities = destination.localities.clone();
    localities.retain(|locality| !(by_ingress && locality.reach == Reach::Ingress));
    let all = localities.iter().flat_map(|locality| &locality.endpoints);
    if all.filter(|endpoint| endpoint.ready).count() == 1 {
        for locality in &mut localities {
            locality.endpoints.retain(|endpoint| endpoint.ready);
        }
    }
    localities.retain(|locality| !locality.endpoints.is_empty());
    localities
}

proptest! {
    #[test]
    fn equal_content_has_equal_versions(one in destinations()) {
        let first = project(&one);
        for _ in 0..8 {
            prop_assert_eq!(&project(&one.clone()), &first);
        }
    }

    /// A change of readiness or place is seen in the endpoints that are listed, and there only.
    #[test]
    fn endpoints_change_alone(one in destinations(), other in endpoints()) {
        let mut changed = one.clone();
        changed.localities[0].endpoints = other;
        let (before, after) = (project(&one), project(&changed));
        let of_ingress = before.len() - 1;
        for (index, (a, b)) in before.iter().zip(&after).enumerate() {
            let by_ingress = index == of_ingress;
            let same = listed(&one, by_ingress) == listed(&changed, by_ingress);
            let is_endpoints = a.resource_type == meshspan_envoy::ResourceType::Endpoint;
            prop_assert_eq!(a.version == b.version, same || !is_endpoints, "{:?} {:?}", a, b);
        }
    }
}

#[test]
fn sidecars_have_equal_versions_again_and_again() {
    let inbounds =
        || [("a", Protocol::Grpc), ("b", Protocol::Tcp)].map(|(name, protocol)| inbound("web", name, 80, 81, protocol));
    let one = || intercepted(sidecar("web-1", inbounds().into()), IpFamilyMode::DualStack);
    let first = meshspan_envoy::sidecar(&one(), &OPTIONS);
    for _ in 0..50 {
        assert_eq!(meshspan_envoy::sidecar(&one(), &OPTIONS), first);
    }
}

/// Permissions for several server names, and fields of access logs, are maps for Envoy.
#[test]
fn policies_of_inbounds_have_equal_versions_again_and_again() {
    let names = ["a", "b", "c", "d"];
    let asked = names.map(|name| json!({ "sni": { "type": "Exact", "value": name } }));
    let fields = names.map(|name| json!({ "key": name, "value": "%KUMA_MESH%" }));
    let format = json!({ "type": "Json", "json": fields });
    let backends = json!([
        { "type": "File", "file": { "path": "/dev/null", "format": format } },
        { "type": "Tcp", "tcp": { "address": "logs:514", "format": format } },
        { "type": "OpenTelemetry", "openTelemetry": { "endpoint": "collector", "attributes": fields } },
    ]);
    let rules = |conf: serde_json::Value| json!({ "rules": [{ "default": conf }] });
    let said = inbound_policies(&[
        (
            PolicyKind::MeshTrafficPermission,
            rules(json!({ "allow": asked, "deny": asked, "allowWithShadowDeny": asked })),
        ),
        (
            PolicyKind::MeshTLS,
            rules(json!({ "mode": "Permissive", "tlsVersion": { "min": "TLS12" } })),
        ),
        (PolicyKind::MeshAccessLog, rules(json!({ "backends": backends }))),
    ]);
    let project = || {
        let inbounds = [("a", 80, Protocol::Http), ("b", 90, Protocol::Tcp)];
        let inbounds = inbounds.map(|(name, port, protocol)| inbound("web", name, port, 81, protocol));
        let mut proxy = sidecar("web-1", inbounds.into());
        proxy.inbound_policies = vec![said.clone(); 2];
        meshspan_envoy::sidecar(&proxy, &OPTIONS)
    };
    let first = project();
    for _ in 0..50 {
        assert_eq!(project(), first);
    }
}

#[test]
fn different_content_has_different_versions() {
    let base = || over_tls(destination("backend", "http", Protocol::Http), &["spiffe://default/a"]);
    let more_ids = over_tls(base(), &["spiffe://default/a", "spiffe://default/b"]);
    let mut grpc = base();
    grpc.protocol = Protocol::Grpc;
    let remote = with_localities(base(), vec![other_zone("west", vec![ready(1)])]);
    let clusters = [base(), more_ids, destination("backend", "http", Protocol::Http), remote];
    let versions: BTreeMap<_, _> = clusters
        .iter()
        .map(|one| (destination_cluster(one, &default_policies()).version, ()))
        .collect();
    assert_eq!(versions.len(), clusters.len());
    let listener = |one: &Destination| outbound_listener(&outbound(one, LOCALHOST, 80, true)).version;
    assert_ne!(listener(&base()), listener(&grpc));
}

#[test]
fn debug_output_does_not_show_keys() {
    let secret = meshspan_envoy::secrets::identity(MESH, "CHAIN", "VERYSECRET");
    assert!(!format!("{secret:?}").contains("VERYSECRET"));
    assert_eq!(&*secret.name, "identity_cert:secret:default");
}
