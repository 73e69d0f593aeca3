#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn global() -> Direction {
    Direction::ToZones {
        public_key_of: Arc::new(|key| {
            if key == b"private" {
                Ok(b"public".to_vec())
            } else {
                Err("not RSA".to_owned())
            }
        }),
    }
}

fn west() -> Direction {
    Direction::ToGlobal {
        zone: "west".to_owned(),
    }
}

fn sent(resource: &Resource, direction: &Direction) -> Option<Outgoing> {
    outgoing(resource, direction).unwrap()
}

#[test]
fn a_service_has_one_name_on_global_and_in_all_other_zones() {
    let redis = Resource::new(Kind::MeshService, "default", "redis", json!({}))
        .with_label(labels::DELETION_GRACE_PERIOD_STARTED_AT, "2026-11-23T18:00:00Z");
    let up = sent(&redis, &west()).unwrap();
    assert_eq!(up.resource.name, "redis-f8xz8bddwx8b5c22");
    assert_eq!(up.resource.display_name(), "redis");
    assert_eq!(
        (up.resource.zone(), up.resource.label(labels::ORIGIN)),
        ("west", "zone")
    );
    assert!(
        !up.resource
            .labels
            .contains_key(labels::DELETION_GRACE_PERIOD_STARTED_AT)
    );
    let mut on_global = up.resource;
    on_global.status = Some(json!({"vips": []}));
    let down = sent(&on_global, &global()).unwrap();
    assert_eq!(down.resource.name, "redis-f8xz8bddwx8b5c22");
    assert_eq!(
        (down.resource.zone(), down.resource.label(labels::ORIGIN)),
        ("west", "global")
    );
    assert_eq!(down.resource.status, None);
    assert_eq!(down.audience, Audience::OthersThan("west".to_owned()));
    // East does not send it back.
    assert_eq!(
        sent(
            &down.resource,
            &Direction::ToGlobal {
                zone: "east".to_owned()
            }
        ),
        None
    );
}

#[test]
fn names_of_system_resources_stay() {
    let mesh = Resource::new(Kind::Mesh, "", "default", json!({}));
    assert_eq!(sent(&mesh, &global()).unwrap().resource.name, "default");
    let secret = Resource::new(Kind::Secret, "default", "default.ca", json!({"data": "aGk="}));
    assert_eq!(sent(&secret, &global()).unwrap().resource.name, "default.ca");
    let generator = Resource::new(Kind::HostnameGenerator, "", "synced-kube-mesh-service", json!({}));
    assert_eq!(
        sent(&generator, &global()).unwrap().resource.name,
        "synced-kube-mesh-service-8xc5x6c9f588fzz9"
    );
}

#[test]
fn private_zone_keys_never_leave_the_global() {
    let secret =
        |name: &str, data: &[u8]| Resource::new(Kind::GlobalSecret, "", name, json!({"data": BASE64.encode(data)}));
    let key = sent(&secret("zone-token-signing-key-1", b"private"), &global()).unwrap();
    assert_eq!(key.resource.name, "zone-token-signing-public-key-1");
    assert_eq!(key.resource.spec, json!({"data": BASE64.encode(b"public")}));
    for name in [
        "user-token-signing-key-1",
        "admin-user-token",
        "inter-cp-ca",
        "envoy-admin-ca",
    ] {
        assert_eq!(sent(&secret(name, b"private"), &global()), None, "{name}");
    }
    assert!(
        outgoing(&secret("zone-token-signing-key-2", b"garbage"), &global())
            .unwrap_err()
            .contains("not RSA")
    );
    assert_eq!(sent(&secret("zone-token-signing-key-1", b"private"), &west()), None);
}

#[test]
fn zones_send_what_they_own() {
    for kind in [Kind::ZoneIngress, Kind::ZoneEgress] {
        let proxy = |zone: &str| Resource::new(kind, "", "proxy", json!({"zone": zone, "networking": {"port": 1}}));
        assert!(sent(&proxy(""), &west()).is_some());
        assert!(sent(&proxy("west"), &west()).is_some());
        assert!(sent(&proxy("east"), &west()).is_none());
    }
    let external = Resource::new(Kind::MeshExternalService, "default", "bank", json!({}));
    assert!(sent(&external, &west()).is_some());
    assert!(sent(&external.with_label(labels::ORIGIN, "global"), &west()).is_none());
    let insight = Resource::new(
        Kind::DataplaneInsight,
        "default",
        "web-1",
        json!({"subscriptions": [{"id": "a", "generation": 4}]}),
    );
    let up = sent(&insight, &west()).unwrap().resource;
    assert_eq!(up.spec, json!({"subscriptions": [{"id": "a"}]}));
    let dataplane =
        Resource::new(Kind::Dataplane, "default", "web-1", json!({})).with_label(labels::DISPLAY_NAME, "web-1");
    assert_eq!(sent(&dataplane, &west()).unwrap().resource.name, up.name);
    for kind in [
        Kind::Mesh,
        Kind::Secret,
        Kind::Zone,
        Kind::ZoneInsight,
        Kind::MeshMultiZoneService,
    ] {
        assert_eq!(
            sent(&Resource::new(kind, "default", "x", json!({})), &west()),
            None,
            "{kind}"
        );
    }
}

#[test]
fn global_sends_what_it_owns_and_services_of_other_zones() {
    let policy = json!({"from": [{"targetRef": {"kind": "Mesh"}, "default": {"action": "Allow"}}]});
    let external = Resource::new(Kind::MeshExternalService, "default", "bank", json!({}));
    assert_eq!(sent(&external, &global()).unwrap().audience, Audience::Everyone);
    let of_zone = external
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::ZONE, "west");
    assert_eq!(sent(&of_zone, &global()), None, "each zone has its own way out");
    let own = Resource::new(Kind::MeshTrafficPermission, "default", "allow", policy.clone());
    let down = sent(&own, &global()).unwrap();
    assert_eq!(
        (down.audience, down.needs),
        (Audience::Everyone, Some(Feature::OptionalTopLevelTargetRef))
    );
    let of_zone = own
        .clone()
        .with_label(labels::ORIGIN, "zone")
        .with_label(labels::ZONE, "west");
    assert_eq!(sent(&of_zone, &global()), None);
    assert_eq!(sent(&own.with_label(labels::KDS_SYNC, "disabled"), &global()), None);
    for (name, expected) in [("kuma-cluster-id", true), ("cp-catalog", false)] {
        assert_eq!(
            sent(
                &Resource::new(Kind::Config, "", name, json!({"config": "x"})),
                &global()
            )
            .is_some(),
            expected
        );
    }
    for kind in [
        Kind::Dataplane,
        Kind::DataplaneInsight,
        Kind::Zone,
        Kind::ZoneIngressInsight,
        Kind::ZoneEgress,
        Kind::ZoneEgressInsight,
    ] {
        let copy = Resource::new(kind, "default", "x", json!({})).with_label(labels::ORIGIN, "zone");
        assert_eq!(sent(&copy, &global()), None, "{kind}");
    }
}

#[test]
fn policies_of_zones_reach_other_zones_only_from_producers() {
    let policy = |labels: &[(&str, &str)], spec: Value| {
        let mut resource = Resource::new(Kind::MeshTimeout, "default", "t", spec)
            .with_label(labels::ORIGIN, "zone")
            .with_label(labels::ZONE, "west");
        for (key, value) in labels {
            resource = resource.with_label(key, *value);
        }
        sent(&resource, &global()).map(|sent| (sent.audience, sent.needs))
    };
    let to = |target: Value| json!({"to": [{"targetRef": target, "default": {"idleTimeout": "1s"}}]});
    let own = to(json!({"kind": "MeshService", "name": "redis"}));
    let producer = [(labels::NAMESPACE, "shop"), (labels::POLICY_ROLE, "producer")];
    assert_eq!(
        policy(&producer, own.clone()),
        Some((
            Audience::OthersThan("west".to_owned()),
            Some(Feature::ProducerPolicyFlow)
        ))
    );
    assert_eq!(policy(&[], own.clone()), None);
    // The label alone proves nothing.
    assert_eq!(policy(&producer, to(json!({"kind": "Mesh"}))), None);
    assert_eq!(policy(&producer[1..], own.clone()), None);
    let mut narrowed = own;
    narrowed["targetRef"] = json!({"kind": "MeshSubset", "tags": {"kuma.io/zone": "east"}});
    assert_eq!(
        policy(&producer, narrowed).map(|(audience, _)| audience),
        Some(Audience::Only {
            zone: "east".to_owned(),
            from: "west".to_owned()
        })
    );
}
