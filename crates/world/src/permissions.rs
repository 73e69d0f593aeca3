//! Whether the MeshTrafficPermissions of an inbound let anybody in, read from what projection gets.

use std::collections::BTreeSet;

use meshspan_model::kinds::mesh_traffic_permission::lets_anybody_in;
use meshspan_model::policy::PolicyKind;

use crate::mesh_state::MeshState;
use crate::services::{MeshServiceEntry, inbounds_of_port};
use crate::view::{InboundTls, Sidecar};

/// For each inbound of a sidecar, in the order of its Dataplane: whether there are clients that it lets in.
pub(crate) fn open_inbounds(sidecar: &Sidecar) -> Vec<bool> {
    let inbounds = 0..sidecar.dataplane.networking.inbound.len();
    inbounds.map(|index| is_open(sidecar, index)).collect()
}

fn is_open(sidecar: &Sidecar, inbound: usize) -> bool {
    if sidecar.inbound_tls == InboundTls::Off {
        return true;
    }
    let rules = sidecar
        .inbound_policies(inbound)
        .get(&PolicyKind::MeshTrafficPermission);
    rules.is_some_and(|rules| rules.is_complete && lets_anybody_in(rules.rules.iter().map(|rule| &rule.effective.conf)))
}

/// What of a local service no client may reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Sections of the ports that no instance opens to anybody.
    pub(crate) ports: BTreeSet<String>,
    /// Dataplanes with an inbound that is closed to everybody, though other instances of the port are not.
    pub(crate) instances: BTreeSet<String>,
    /// No port is open to anybody.
    pub(crate) all: bool,
}

impl Closed {
    /// Looks at every inbound of a local service.
    pub(crate) fn of(mesh: &MeshState, service: &MeshServiceEntry) -> Self {
        let mut closed = Self::default();
        let mut is_any_open = false;
        for port in &service.spec.ports {
            let (mut open, mut refusing) = (false, BTreeSet::new());
            for name in &service.matched {
                let Some(view) = mesh.sidecars.get(name) else { continue };
                for (index, _) in inbounds_of_port(&view.sidecar.dataplane, port) {
                    if is_open(&view.sidecar, index) {
                        open = true;
                    } else {
                        refusing.insert(name.clone());
                    }
                }
            }
            is_any_open |= open;
            match (open, refusing.is_empty()) {
                (_, true) => {}
                (true, false) => closed.instances.extend(refusing),
                (false, false) => {
                    closed.ports.insert(port.section());
                }
            }
        }
        closed.all = !closed.ports.is_empty() && !is_any_open;
        closed
    }

    /// What is closed, as the object of "nothing allows anyone to reach …"; `None` if all is open to somebody.
    pub(crate) fn what(&self, service: &str) -> Option<String> {
        if self.all {
            return Some(service.to_owned());
        }
        if !self.ports.is_empty() {
            let ports: Vec<_> = self.ports.iter().map(String::as_str).collect();
            return Some(format!("port {} of {service}", ports.join(", ")));
        }
        if self.instances.is_empty() {
            return None;
        }
        let instances: Vec<_> = self.instances.iter().map(String::as_str).collect();
        Some(format!("{service} through {}", instances.join(", ")))
    }
}
