//! A range with fewer addresses than services: who waits gets what becomes free, and nobody else moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_model::{Kind, Resource, ResourceKey, labels};
use meshspan_world::{Settings, VipRange, World};
use serde_json::json;
use time::{Duration, OffsetDateTime};

struct Zone {
    world: World,
    vips: BTreeMap<String, Option<IpAddr>>,
}

impl Zone {
    fn new() -> Self {
        let world = World::new(Settings {
            zone: "east".into(),
            federated: false,
            mesh_service_vips: VipRange::parse("241.0.0.0/31").unwrap(),
            mesh_external_service_vips: VipRange::parse("242.0.0.0/8").unwrap(),
            mesh_multi_zone_service_vips: VipRange::parse("243.0.0.0/31").unwrap(),
            deletion_grace_period: Duration::hours(1),
        });
        let mut zone = Self {
            world,
            vips: BTreeMap::new(),
        };
        zone.apply(Resource::new(Kind::Mesh, "", "default", json!({})));
        zone
    }

    fn apply(&mut self, resource: Resource) {
        self.world.apply(&resource.key(), Some(&Arc::new(resource)));
        self.derive();
    }

    fn delete(&mut self, kind: Kind, name: &str) {
        self.world.apply(&ResourceKey::new(kind, "default", name), None);
        self.derive();
    }

    fn derive(&mut self) {
        let changes = self.world.derive(OffsetDateTime::UNIX_EPOCH);
        for (key, destination) in changes.destinations {
            match destination {
                Some(destination) => self.vips.insert(key.service.name, destination.vip),
                None => self.vips.remove(&key.service.name),
            };
        }
    }

    fn without(&self) -> Vec<&str> {
        let none = self.vips.iter().filter(|(_, vip)| vip.is_none());
        none.map(|(name, _)| name.as_str()).collect()
    }
}

fn service(kind: Kind, name: &str) -> Resource {
    let spec = match kind {
        Kind::MeshService => json!({"selector": {"dataplaneTags": {"kuma.io/service": name}}, "ports": [{"port": 80}]}),
        _ => json!({"selector": {"meshService": {"matchLabels": {"a": "b"}}}, "ports": [{"port": 80}]}),
    };
    Resource::new(kind, "default", name, spec).with_label(labels::DISPLAY_NAME, name)
}

#[test]
fn a_freed_address_goes_to_a_service_that_waits() {
    for kind in [Kind::MeshService, Kind::MeshMultiZoneService] {
        let mut zone = Zone::new();
        for name in ["a", "b", "c", "d"] {
            zone.apply(service(kind, name));
        }
        assert_eq!(zone.without(), ["c", "d"], "{kind}");
        let (a, b) = (zone.vips["a"], zone.vips["b"]);
        zone.delete(kind, "a");
        assert_eq!(zone.without(), ["d"], "{kind}");
        assert_eq!((zone.vips["b"], zone.vips["c"]), (b, a), "{kind}");
        zone.delete(kind, "d");
        zone.delete(kind, "b");
        assert_eq!(zone.vips, BTreeMap::from([("c".to_owned(), a)]), "{kind}");
        zone.apply(service(kind, "e"));
        assert_eq!(zone.vips["e"], b, "{kind}");
    }
}
