//! The names that one agent answers: those whose listeners its Envoy has accepted. A name that was answered before Envoy
//! serves its address would lead an application into nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_world::view::DnsTable;
use meshspan_xds::proto::agent::{DnsRecord, DnsUpdate};

use super::listening::ListenerNews;
use crate::engine::MeshNames;

/// What an agent answers, from which the next update follows.
pub(super) struct AnsweredNames {
    ttl_seconds: u32,
    mesh: Arc<MeshNames>,
    /// Listeners that Envoy runs.
    accepted: BTreeSet<Arc<str>>,
    /// Addresses of these listeners.
    served: BTreeSet<IpAddr>,
    /// What was answered once stays while the mesh has the name: applications may hold on to it.
    answered: DnsTable,
    /// Nothing is sent before Envoy has caught up: until then the agent keeps what it has, of an earlier stream perhaps.
    begun: bool,
}

impl AnsweredNames {
    pub(super) fn new(ttl_seconds: u32) -> Self {
        Self {
            ttl_seconds,
            mesh: Arc::default(),
            accepted: BTreeSet::new(),
            served: BTreeSet::new(),
            answered: DnsTable::new(),
            begun: false,
        }
    }

    /// Takes the names of the mesh.
    pub(super) fn mesh_changed(&mut self, mesh: Arc<MeshNames>) -> Option<DnsUpdate> {
        self.mesh = mesh;
        let addresses = self.accepted.iter().filter_map(|listener| self.mesh.address(listener));
        self.served = addresses.collect();
        if !self.begun {
            return None;
        }
        let mut update = self.update();
        let records = self.mesh.records.clone();
        for (name, addresses) in &*records {
            if self.answered.get(name) == Some(addresses) {
                continue;
            }
            if self.answered.contains_key(name) || addresses.iter().any(|address| self.served.contains(address)) {
                self.answer(name, addresses, &mut update);
            }
        }
        let gone: Vec<_> = self
            .answered
            .keys()
            .filter(|name| !records.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.answered.remove(&name);
            update.removed_names.push(name.to_string());
        }
        (!update.records.is_empty() || !update.removed_names.is_empty()).then_some(update)
    }

    /// Takes what Envoy says of its listeners; the first call says that it has caught up.
    pub(super) fn listeners_changed(&mut self, news: ListenerNews) -> Option<DnsUpdate> {
        let mut update = self.update();
        update.full = !std::mem::replace(&mut self.begun, true);
        let mesh = self.mesh.clone();
        for listener in &news.removed {
            self.accepted.remove(listener);
        }
        for listener in news.accepted {
            if let Some(address) = mesh.address(&listener)
                && self.served.insert(address)
            {
                for name in mesh.names(address) {
                    if let Some(addresses) = mesh.records.get(name) {
                        self.answer(name, addresses, &mut update);
                    }
                }
            }
            self.accepted.insert(listener);
        }
        (update.full || !update.records.is_empty()).then_some(update)
    }

    fn update(&self) -> DnsUpdate {
        DnsUpdate {
            full: false,
            records: Vec::new(),
            removed_names: Vec::new(),
            ttl_seconds: self.ttl_seconds,
        }
    }

    fn answer(&mut self, name: &Arc<str>, addresses: &[IpAddr], update: &mut DnsUpdate) {
        self.answered.insert(name.clone(), addresses.to_vec());
        update.records.push(DnsRecord {
            name: name.to_string(),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use meshspan_model::{Kind, ServiceIdentity};
    use meshspan_world::view::DestinationKey;

    use super::*;

    fn key(service: &str, section: &str) -> DestinationKey {
        DestinationKey {
            service: ServiceIdentity {
                kind: Kind::MeshMultiZoneService,
                mesh: "default".into(),
                zone: String::new(),
                namespace: String::new(),
                name: service.into(),
            },
            section: section.into(),
        }
    }

    fn listener(service: &str, section: &str) -> Arc<str> {
        meshspan_envoy::names::destination(&key(service, section)).into()
    }

    /// Services with two ports each, at 243.0.0.1 and so on.
    fn mesh(services: &[&str]) -> Arc<MeshNames> {
        let mut names = MeshNames::default();
        let mut records = DnsTable::new();
        for (number, service) in (1_u8..).zip(services) {
            let address = IpAddr::from([243, 0, 0, number]);
            records.insert(format!("{service}.mesh").into(), vec![address]);
            for section in ["80", "81"] {
                names.set_listener(&key(service, section), Some(address));
            }
        }
        names.set_records(Arc::new(records));
        Arc::new(names)
    }

    fn accepted(listeners: &[Arc<str>]) -> ListenerNews {
        ListenerNews {
            accepted: listeners.iter().cloned().collect(),
            ..ListenerNews::default()
        }
    }

    fn records(update: Option<DnsUpdate>) -> Vec<String> {
        let update = update.into_iter().flat_map(|update| update.records);
        update
            .map(|record| format!("{} {}", record.name, record.addresses.join(",")))
            .collect()
    }

    #[test]
    fn names_follow_listeners_one_by_one() {
        let mut names = AnsweredNames::new(5);
        assert_eq!(names.mesh_changed(mesh(&["a", "b"])), None, "Envoy has not caught up");
        let first = names.listeners_changed(accepted(&[listener("a", "80")]));
        assert!(first.as_ref().is_some_and(|update| update.full));
        assert_eq!(records(first), ["a.mesh 243.0.0.1"]);
        assert_eq!(
            names.listeners_changed(accepted(&[listener("a", "81")])),
            None,
            "known already"
        );
        assert_eq!(names.listeners_changed(accepted(&["self_inbound_dp_80".into()])), None);
        assert_eq!(
            records(names.mesh_changed(mesh(&["a", "b", "c"]))),
            [""; 0],
            "nobody serves it yet"
        );
        let update = names.listeners_changed(accepted(&[listener("c", "80"), listener("b", "81")]));
        assert!(update.as_ref().is_some_and(|update| !update.full));
        let mut both = records(update);
        both.sort();
        assert_eq!(both, ["b.mesh 243.0.0.2", "c.mesh 243.0.0.3"]);
    }

    #[test]
    fn what_was_answered_stays_while_the_mesh_has_the_name() {
        let mut names = AnsweredNames::new(5);
        names.mesh_changed(mesh(&["a"]));
        names.listeners_changed(accepted(&[listener("a", "80")]));
        let removed = ListenerNews {
            removed: BTreeSet::from([listener("a", "80")]),
            ..ListenerNews::default()
        };
        assert_eq!(names.listeners_changed(removed), None);
        assert_eq!(names.mesh_changed(mesh(&["a"])), None);
        let update = names.mesh_changed(mesh(&[]));
        assert_eq!(
            update.map(|update| update.removed_names),
            Some(vec!["a.mesh".to_owned()])
        );
        assert_eq!(names.mesh_changed(mesh(&["a"])), None, "it has to be served again");
    }
}
