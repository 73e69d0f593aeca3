//! Whom the MeshTrafficPermissions of an inbound let in, read from what projection gets.

use std::collections::BTreeSet;

use meshspan_model::kinds::mesh_traffic_permission::{lets_anybody_in, only_these_ids};
use meshspan_model::policy::PolicyKind;

use crate::mesh_state::MeshState;
use crate::services::{MeshServiceEntry, inbounds_of_port};
use crate::view::{InboundTls, Sidecar};

/// Whom an inbound lets in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Nobody,
    /// Nobody but clients with these SPIFFE ids.
    Only(BTreeSet<String>),
    /// Clients that no list names one by one.
    Many,
}

impl Admitted {
    fn of(sidecar: &Sidecar, inbound: usize) -> Self {
        if sidecar.inbound_tls == InboundTls::Off {
            return Self::Many;
        }
        let policies = sidecar.inbound_policies(inbound);
        let Some(rules) = policies.get(&PolicyKind::MeshTrafficPermission) else {
            return Self::Nobody;
        };
        let confs = || rules.rules.iter().map(|rule| &rule.effective.conf);
        if !rules.is_complete || !lets_anybody_in(confs()) {
            return Self::Nobody;
        }
        only_these_ids(confs()).map_or(Self::Many, Self::Only)
    }
}

/// For each inbound of a sidecar, in the order of its Dataplane: whom it lets in.
pub(crate) fn admitted(sidecar: &Sidecar) -> Vec<Admitted> {
    let inbounds = 0..sidecar.dataplane.networking.inbound.len();
    inbounds.map(|index| Admitted::of(sidecar, index)).collect()
}

/// The services of a mesh, by the tag in their SPIFFE ids, that alone may reach a local service; `None` if others may too.
pub(crate) fn only_clients(mesh: &MeshState, service: &MeshServiceEntry) -> Option<BTreeSet<String>> {
    let mut clients = BTreeSet::new();
    for port in &service.spec.ports {
        for view in service.matched.iter().filter_map(|name| mesh.sidecars.get(name)) {
            let trust_domain = format!("spiffe://{}/", view.sidecar.mesh);
            for (index, _) in inbounds_of_port(&view.sidecar.dataplane, port) {
                match Admitted::of(&view.sidecar, index) {
                    Admitted::Nobody => {}
                    Admitted::Many => return None,
                    Admitted::Only(ids) => {
                        for id in ids {
                            // A client of another trust domain may well exist: nothing is known of it here.
                            clients.insert(id.strip_prefix(&trust_domain)?.to_owned());
                        }
                    }
                }
            }
        }
    }
    Some(clients).filter(|clients| !clients.is_empty())
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
                    if Admitted::of(&view.sidecar, index) != Admitted::Nobody {
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
