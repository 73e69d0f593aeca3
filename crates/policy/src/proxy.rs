//! A proxy as policies see it.

use std::collections::BTreeMap;

use meshspan_model::kinds::dataplane::{self, Dataplane, InboundState};
use meshspan_model::{Resource, labels};

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Its mesh.
    pub mesh: String,
    /// Its core name.
    pub name: String,
    /// Its labels; display name, zone and namespace are always among them, where they are known.
    pub labels: BTreeMap<String, String>,
    /// Its tags if it is a gateway, builtin or delegated.
    pub gateway: Option<BTreeMap<String, String>>,
    /// Its inbounds, in the order of the resource.
    pub inbounds: Vec<ProxyInbound>,
}

/// An inbound of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyInbound {
    /// Its name, or "".
    pub name: String,
    /// The port that others dial.
    pub port: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// True if no service selects it; then no policy does either.
    pub ignored: bool,
}

impl Proxy {
    /// The proxy of a Dataplane. `zone` is where it runs if its labels do not say so.
    pub fn of(resource: &Resource, dataplane: &Dataplane, zone: &str) -> Self {
        let mut own = resource.labels.clone();
        own.entry(labels::DISPLAY_NAME.to_owned())
            .or_insert_with(|| resource.name.clone());
        if !zone.is_empty() {
            own.entry(labels::ZONE.to_owned()).or_insert_with(|| zone.to_owned());
        }
        let networking = &dataplane.networking;
        let inbound = |inbound: &dataplane::Inbound| ProxyInbound {
            name: inbound.name.clone(),
            port: inbound.port,
            tags: inbound.tags.clone(),
            ignored: inbound.state == InboundState::Ignored,
        };
        Self {
            mesh: resource.mesh.clone(),
            name: resource.name.clone(),
            labels: own,
            gateway: networking.gateway.as_ref().map(|gateway| gateway.tags.clone()),
            inbounds: networking.inbound.iter().map(inbound).collect(),
        }
    }

    /// The label `key`, or "".
    pub(crate) fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }
}

impl ProxyInbound {
    /// True if `section` is its name or its number.
    pub fn is(&self, section: &str) -> bool {
        (!self.name.is_empty() && self.name == section) || self.port.to_string() == section
    }
}
