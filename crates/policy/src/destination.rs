//! Destinations as policies see them: services with their labels and ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::kinds::mesh_external_service::MeshExternalService;
use meshspan_model::kinds::mesh_multi_zone_service::MeshMultiZoneService;
use meshspan_model::kinds::mesh_service::MeshService;
use meshspan_model::{Resource, ServiceIdentity, ServiceKind, labels};
use time::OffsetDateTime;

use super::policy::Labels;

/// A service that traffic can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which, in every control plane.
    pub identity: ServiceIdentity,
    /// Its labels; what the identity says counts where a label is missing.
    pub labels: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// When it was created; of several backends that match, the oldest counts.
    pub creation_time: OffsetDateTime,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, or "".
    pub name: String,
    /// Its number.
    pub port: u32,
}

impl ServicePort {
    /// What the port is called everywhere in the engine: its name, else its number.
    pub fn section(&self) -> String {
        match self.name.as_str() {
            "" => self.port.to_string(),
            name => name.to_owned(),
        }
    }
}

impl Service {
    /// A service of that kind as policies see it; `None` if the resource cannot be read. A MeshService of the own zone is
    /// named by that zone even if its labels do not say so.
    pub fn of(kind: ServiceKind, resource: &Resource, own_zone: &str) -> Option<Self> {
        let mut identity = ServiceIdentity::of(kind, resource);
        if kind == ServiceKind::MeshService && identity.zone.is_empty() {
            own_zone.clone_into(&mut identity.zone);
        }
        let port = |name: &str, port: u32| ServicePort {
            name: name.to_owned(),
            port,
        };
        let ports = match kind {
            ServiceKind::MeshService => {
                let ports = resource.parse::<MeshService>().ok()?.ports;
                ports.iter().map(|found| port(&found.name, found.port)).collect()
            }
            ServiceKind::MeshMultiZoneService => {
                let ports = resource.parse::<MeshMultiZoneService>().ok()?.ports;
                ports.iter().map(|found| port(&found.name, found.port)).collect()
            }
            ServiceKind::MeshExternalService => {
                vec![port("", resource.parse::<MeshExternalService>().ok()?.matched.port)]
            }
        };
        Some(Self {
            identity,
            labels: resource.labels.clone(),
            ports,
            creation_time: resource.creation_time,
        })
    }

    /// True if it has all these labels.
    pub fn has_labels(&self, wanted: &Labels) -> bool {
        wanted.iter().all(|(key, value)| {
            let own = self.labels.get(key).map(String::as_str);
            own.or_else(|| self.implied_label(key)) == Some(value)
        })
    }

    fn implied_label(&self, key: &str) -> Option<&str> {
        let value = match key {
            labels::DISPLAY_NAME => &self.identity.name,
            labels::ZONE => &self.identity.zone,
            labels::NAMESPACE => &self.identity.namespace,
            labels::MESH => &self.identity.mesh,
            _ => return None,
        };
        (!value.is_empty()).then_some(value)
    }

    /// The port that a section means: by name, else by number. Names and numbers of one port are the same section.
    pub fn port(&self, section: &str) -> Option<&ServicePort> {
        let by_name = self
            .ports
            .iter()
            .find(|port| !port.name.is_empty() && port.name == section);
        by_name.or_else(|| self.ports.iter().find(|port| port.port.to_string() == section))
    }
}

/// All services of a control plane.
#[derive(Clone, Debug, Default)]
pub struct Services {
    by_identity: BTreeMap<ServiceIdentity, Arc<Service>>,
    /// By mesh, kind and display name, since most references have one.
    by_name: BTreeMap<(String, ServiceKind, String), BTreeSet<ServiceIdentity>>,
}

impl Services {
    /// No service.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service, in place of the one with its identity.
    pub fn insert(&mut self, service: Service) {
        self.remove(&service.identity.clone());
        let identity = service.identity.clone();
        self.by_name
            .entry(name_key(&service))
            .or_default()
            .insert(identity.clone());
        self.by_identity.insert(identity, Arc::new(service));
    }

    /// Removes a service.
    pub fn remove(&mut self, identity: &ServiceIdentity) {
        let Some(service) = self.by_identity.remove(identity) else {
            return;
        };
        let key = name_key(&service);
        if let Some(namesakes) = self.by_name.get_mut(&key) {
            namesakes.remove(identity);
            if namesakes.is_empty() {
                self.by_name.remove(&key);
            }
        }
    }

    /// A service.
    pub fn get(&self, identity: &ServiceIdentity) -> Option<&Arc<Service>> {
        self.by_identity.get(identity)
    }

    /// The services of a mesh and kind that have all these labels.
    pub fn with_labels<'a>(
        &'a self,
        mesh: &'a str,
        kind: ServiceKind,
        wanted: &'a Labels,
    ) -> Box<dyn Iterator<Item = &'a Arc<Service>> + 'a> {
        let fits = move |service: &&Arc<Service>| {
            service.identity.kind == kind && service.identity.mesh == mesh && service.has_labels(wanted)
        };
        match wanted.get(labels::DISPLAY_NAME) {
            Some(name) => {
                let namesakes = self.by_name.get(&(mesh.to_owned(), kind, name.clone()));
                let services = namesakes
                    .into_iter()
                    .flatten()
                    .filter_map(|identity| self.by_identity.get(identity));
                Box::new(services.filter(fits))
            }
            None => Box::new(self.by_identity.values().filter(fits)),
        }
    }
}

fn name_key(service: &Service) -> (String, ServiceKind, String) {
    let identity = &service.identity;
    let name = service.labels.get(labels::DISPLAY_NAME).unwrap_or(&identity.name);
    (identity.mesh.clone(), identity.kind, name.clone())
}
