//! The world against a small store of its own: writes are applied until nothing changes.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::document;
use meshspan_model::kinds::dataplane_insight::DataplaneInsight;
use meshspan_model::{Kind, Resource, ResourceKey, labels};
use meshspan_world::view::{ClassKey, Destination, DestinationKey, DestinationPolicies, DnsTable, SidecarView};
use meshspan_world::{Changes, Settings, VipRange, World, Write};
use time::{Duration, OffsetDateTime};

pub fn settings() -> Settings {
    Settings {
        zone: "east".into(),
        federated: true,
        mesh_service_vips: VipRange::parse("241.0.0.0/8").unwrap(),
        mesh_external_service_vips: VipRange::parse("242.0.0.0/8").unwrap(),
        mesh_multi_zone_service_vips: VipRange::parse("243.0.0.0/8").unwrap(),
        deletion_grace_period: Duration::hours(1),
    }
}

#[derive(Default, PartialEq, Debug)]
pub struct View {
    pub destinations: BTreeMap<DestinationKey, Arc<Destination>>,
    pub policies: BTreeMap<(String, ClassKey), BTreeMap<DestinationKey, Arc<DestinationPolicies>>>,
    pub sidecars: BTreeMap<(String, String), Arc<SidecarView>>,
    pub dns: BTreeMap<String, DnsTable>,
}

impl View {
    pub fn take(&mut self, changes: Changes) -> Vec<Write> {
        for (key, value) in changes.destinations {
            match value {
                Some(value) => self.destinations.insert(key, value),
                None => self.destinations.remove(&key),
            };
        }
        for (class, changed) in changes.policies {
            let Some(changed) = changed else {
                self.policies.remove(&class);
                continue;
            };
            let known = self.policies.entry(class.clone()).or_default();
            for (key, value) in changed {
                match value {
                    Some(value) => known.insert(key, value),
                    None => known.remove(&key),
                };
            }
            if known.is_empty() {
                self.policies.remove(&class);
            }
        }
        for (key, value) in changes.sidecars {
            match value {
                Some(value) => self.sidecars.insert(key, value),
                None => self.sidecars.remove(&key),
            };
        }
        for (mesh, changed) in changes.dns {
            let table = self.dns.entry(mesh).or_default();
            for (name, addresses) in changed {
                match addresses {
                    Some(addresses) => table.insert(name, addresses),
                    None => table.remove(&name),
                };
            }
        }
        self.dns.retain(|_, table| !table.is_empty());
        changes.writes
    }
}

pub struct Sim {
    pub world: World,
    pub store: BTreeMap<ResourceKey, Arc<Resource>>,
    pub view: View,
    pub now: OffsetDateTime,
    pub rounds: usize,
}

impl Sim {
    pub fn new() -> Self {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        Self {
            world: World::new(settings()),
            store: BTreeMap::new(),
            view: View::default(),
            now,
            rounds: 0,
        }
    }

    pub fn put(&mut self, mut resource: Resource) {
        let key = resource.key();
        // Age is a function of identity here, so that the order of events cannot matter through it.
        resource.creation_time = OffsetDateTime::UNIX_EPOCH + Duration::seconds(key.name.bytes().map(i64::from).sum());
        resource.status = self.store.get(&key).and_then(|old| old.status.clone());
        let insight = ResourceKey::new(Kind::DataplaneInsight, key.mesh.as_str(), key.name.as_str());
        if key.kind == Kind::Dataplane && !self.store.contains_key(&insight) {
            // Its Envoy is connected, unless a test says otherwise.
            let connected = Resource::of(&key.mesh, &key.name, &DataplaneInsight::default());
            self.write(insight, Some(connected));
        }
        self.write(key, Some(resource));
    }

    pub fn delete(&mut self, kind: Kind, mesh: &str, name: &str) {
        self.write(ResourceKey::new(kind, mesh, name), None);
    }

    pub fn write(&mut self, key: ResourceKey, resource: Option<Resource>) {
        let resource = resource.map(Arc::new);
        match &resource {
            Some(resource) => self.store.insert(key.clone(), resource.clone()),
            None => self.store.remove(&key),
        };
        self.world.apply(&key, resource.as_ref());
    }

    pub fn settle(&mut self) {
        for _ in 0..20 {
            self.rounds += 1;
            let changes = self.world.derive(self.now);
            let writes = self.view.take(changes);
            if writes.is_empty() {
                return;
            }
            for write in writes {
                match write {
                    Write::Put(resource) => self.put(resource),
                    Write::Delete(key) => self.write(key, None),
                    Write::Status(key, status) => {
                        let mut resource = (**self.store.get(&key).expect("status of a stored resource")).clone();
                        assert_ne!(
                            resource.status.as_ref(),
                            Some(&status),
                            "an equal status is written again"
                        );
                        resource.status = Some(status);
                        self.write(key, Some(resource));
                    }
                }
            }
        }
        panic!("derivation does not come to rest");
    }

    pub fn get(&self, kind: Kind, mesh: &str, name: &str) -> &Resource {
        self.store
            .get(&ResourceKey::new(kind, mesh, name))
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub fn destination(&self, kind: Kind, name: &str, section: &str) -> &Destination {
        let found = self
            .view
            .destinations
            .iter()
            .find(|(key, _)| key.service.kind.kind() == kind && key.service.name == name && key.section == section);
        found.unwrap_or_else(|| panic!("no destination {name} {section}")).1
    }
}

pub fn doc(yaml: &str) -> Resource {
    document::read(&document::split(yaml).unwrap()[0]).unwrap().resource
}

pub fn mesh(mtls: bool) -> Resource {
    let mtls = if mtls {
        "mtls: {enabledBackend: ca-1, backends: [{name: ca-1, type: builtin}]}"
    } else {
        "{}"
    };
    doc(&format!(
        "type: Mesh\nname: default\n{}",
        mtls.trim_matches(|c| c == '{' || c == '}').to_owned() + if mtls == "{}" { "" } else { "}" }
    ))
}

pub fn dataplane(name: &str, service: &str, address: &str, state: &str) -> Resource {
    doc(&format!(
        "{{type: Dataplane, mesh: default, name: {name}, networking: {{address: {address}, transparentProxying: {{redirectPortInbound: 15006, redirectPortOutbound: 15001}}, inbound: [{{port: 6379, state: {state}, tags: {{kuma.io/service: {service}}}}}]}}}}"
    ))
}

/// What is known of a proxy.
pub fn insight(name: &str, spec: serde_json::Value) -> Resource {
    Resource::new(Kind::DataplaneInsight, "default", name, spec)
}

pub fn remote_service(zone: &str, name: &str, state: &str) -> Resource {
    let mut resource = doc(&format!(
        "{{type: MeshService, mesh: default, name: {name}-{zone}, spec: {{state: {state}, ports: [{{port: 6379, name: '6379'}}], identities: [{{type: ServiceTag, value: {name}}}]}}}}"
    ));
    for (key, value) in [
        (labels::ORIGIN, "global"),
        (labels::ZONE, zone),
        (labels::DISPLAY_NAME, name),
        (labels::ENV, "universal"),
    ] {
        resource.labels.insert(key.into(), value.into());
    }
    resource
}

pub fn multi_zone(name: &str, port: u32) -> Resource {
    doc(&format!(
        "{{type: MeshMultiZoneService, mesh: default, name: {name}, labels: {{kuma.io/origin: global, kuma.io/display-name: {name}}}, spec: {{selector: {{meshService: {{matchLabels: {{kuma.io/display-name: {name}}}}}}}, ports: [{{port: {port}}}]}}}}"
    ))
}

pub fn ingress(zone: &str, number: u32) -> Resource {
    let mut resource = doc(&format!(
        "{{type: ZoneIngress, name: ingress-{zone}-{number}, zone: {zone}, networking: {{address: 10.0.0.9, port: 10001, advertisedAddress: 192.168.{number}.1, advertisedPort: 10001}}}}"
    ));
    resource.labels = BTreeMap::from([
        (labels::ORIGIN.into(), "global".into()),
        (labels::ZONE.into(), zone.into()),
    ]);
    resource
}

pub fn generator(name: &str, kind: &str, template: &str) -> Resource {
    doc(&format!(
        "{{type: HostnameGenerator, name: {name}, labels: {{kuma.io/origin: global}}, spec: {{selector: {{{kind}: {{matchLabels: {{}}}}}}, template: '{template}'}}}}"
    ))
}

pub fn two_zones() -> Sim {
    let mut sim = Sim::new();
    sim.put(mesh(true));
    sim.put(generator(
        "mzsvc",
        "meshMultiZoneService",
        "{{ .DisplayName }}.mzsvc.mesh.local",
    ));
    sim.put(dataplane("redis-1", "redis", "10.1.0.1", "Ready"));
    sim.put(remote_service("west", "redis", "Available"));
    sim.put(ingress("west", 1));
    sim.put(multi_zone("redis", 6379));
    sim.settle();
    sim
}

/// Lets every identity of the mesh reach everything.
pub fn allow_all() -> Resource {
    let everybody = serde_json::json!([{ "spiffeID": { "type": "Prefix", "value": "spiffe://default" } }]);
    policy(
        Kind::MeshTrafficPermission,
        "allow-all",
        serde_json::json!({ "rules": [ { "default": { "allow": everybody } } ] }),
    )
}

/// A policy of this kind, made on the global control plane.
pub fn policy(kind: Kind, name: &str, spec: serde_json::Value) -> Resource {
    let mut resource = Resource::new(kind, "default", name, spec);
    resource.labels.insert(labels::ORIGIN.into(), "global".into());
    resource
}
