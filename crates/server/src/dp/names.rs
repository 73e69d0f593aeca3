//! The names that one agent answers: those whose listeners its Envoy has accepted. A name that was answered before Envoy
//! serves its address would lead an application into nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meshspan_world::view::DnsTable;
use meshspan_xds::dns_parts;
use meshspan_xds::proto::agent::{DnsRecord, DnsUpdate};

use super::listening::ListenerNews;
use crate::engine::{MeshNames, NameChanges};

/// What an agent answers, from which the next update follows.
pub(super) struct AnsweredNames {
    ttl_seconds: u32,
    mesh: MeshNames,
    /// Listeners that Envoy runs.
    accepted: BTreeSet<Arc<str>>,
    /// Addresses of these listeners, and how many listen there.
    served: BTreeMap<IpAddr, usize>,
    /// What was answered once stays while the mesh has the name: applications may hold on to it.
    answered: DnsTable,
    /// Nothing is sent before Envoy has caught up: until then the agent keeps what it has, of an earlier stream perhaps.
    begun: bool,
    /// Digests of what it has.
    kept: Vec<u64>,
}

impl AnsweredNames {
    /// `kept`: what the agent says that it has of an earlier stream.
    pub(super) fn new(ttl_seconds: u32, mesh: MeshNames, kept: Vec<u64>) -> Self {
        Self {
            ttl_seconds,
            mesh,
            accepted: BTreeSet::new(),
            served: BTreeMap::new(),
            answered: DnsTable::new(),
            begun: false,
            kept,
        }
    }

    /// Takes what changed in the names of the mesh.
    pub(super) fn mesh_changed(&mut self, mesh: MeshNames, changes: NameChanges) -> Option<DnsUpdate> {
        let before = std::mem::replace(&mut self.mesh, mesh);
        let mut names = changes.names;
        for listener in changes.listeners.intersection(&self.accepted) {
            if let Some(address) = before.address(listener) {
                leave(&mut self.served, address);
            }
            if let Some(address) = self.mesh.address(listener) {
                *self.served.entry(address).or_default() += 1;
                names.extend(self.mesh.names(address).cloned());
            }
        }
        if !self.begun {
            return None;
        }
        let mut update = self.update();
        for name in names {
            self.look_at(&name, &mut update);
        }
        (!update.records.is_empty() || !update.removed_names.is_empty()).then_some(update)
    }

    /// Takes what Envoy says of its listeners; the first call says that it has caught up.
    pub(super) fn listeners_changed(&mut self, news: ListenerNews) -> Option<DnsUpdate> {
        let mut update = self.update();
        let first = !std::mem::replace(&mut self.begun, true);
        for listener in &news.removed {
            if self.accepted.remove(listener)
                && let Some(address) = self.mesh.address(listener)
            {
                leave(&mut self.served, address);
            }
        }
        let mut names = BTreeSet::new();
        for listener in news.accepted {
            if let Some(address) = self.mesh.address(&listener)
                && !self.accepted.contains(&listener)
            {
                *self.served.entry(address).or_default() += 1;
                names.extend(self.mesh.names(address).cloned());
            }
            self.accepted.insert(listener);
        }
        for name in names {
            self.look_at(&name, &mut update);
        }
        match first {
            true => Some(self.first(update)),
            false => (!update.records.is_empty()).then_some(update),
        }
    }

    /// The first update, of which what the agent has already is left out.
    fn first(&mut self, mut update: DnsUpdate) -> DnsUpdate {
        let kept = std::mem::take(&mut self.kept);
        let records = self
            .answered
            .iter()
            .map(|(name, addresses)| (&**name, addresses.as_slice()));
        match dns_parts::different(&dns_parts::digests(records), &kept) {
            None => update.full = true,
            Some(different) => {
                update
                    .records
                    .retain(|record| different.contains(&dns_parts::part_of(&record.name)));
                update.replaced_parts = different;
            }
        }
        update
    }

    /// Answers a name that is served now, or no longer one that is gone.
    fn look_at(&mut self, name: &Arc<str>, update: &mut DnsUpdate) {
        let Some(addresses) = self.mesh.addresses(name).map(<[IpAddr]>::to_vec) else {
            if self.answered.remove(name).is_some() {
                update.removed_names.push(name.to_string());
            }
            return;
        };
        let known = self.answered.get(name);
        let is_served = addresses.iter().any(|address| self.served.contains_key(address));
        if known == Some(&addresses) || (known.is_none() && !is_served) {
            return;
        }
        update.records.push(DnsRecord {
            name: name.to_string(),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
        });
        self.answered.insert(name.clone(), addresses);
    }

    fn update(&self) -> DnsUpdate {
        DnsUpdate {
            full: false,
            records: Vec::new(),
            removed_names: Vec::new(),
            ttl_seconds: self.ttl_seconds,
            replaced_parts: Vec::new(),
        }
    }
}

fn leave(served: &mut BTreeMap<IpAddr, usize>, address: IpAddr) {
    if let Some(count) = served.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            served.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use meshspan_model::{ServiceIdentity, ServiceKind};
    use meshspan_world::view::{DestinationKey, DnsChanges};

    use super::*;

    fn key(service: &str, section: &str) -> DestinationKey {
        DestinationKey {
            service: ServiceIdentity {
                kind: ServiceKind::MeshMultiZoneService,
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
    fn mesh(services: &[&str]) -> MeshNames {
        let (mut names, mut changes) = (MeshNames::default(), NameChanges::default());
        for (number, service) in (1_u8..).zip(services) {
            let address = IpAddr::from([243, 0, 0, number]);
            let record = DnsChanges::from([(name(service), Some(vec![address]))]);
            names.set_records(&record, &mut changes);
            for section in ["80", "81"] {
                names.set_listener(&key(service, section), Some(address), &mut changes);
            }
        }
        names
    }

    fn name(service: &str) -> Arc<str> {
        format!("{service}.mesh").into()
    }

    /// Everything about these services.
    fn changes(services: &[&str]) -> NameChanges {
        NameChanges {
            names: services.iter().map(|service| name(service)).collect(),
            listeners: services
                .iter()
                .flat_map(|service| ["80", "81"].map(|section| listener(service, section)))
                .collect(),
        }
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
        let mut names = AnsweredNames::new(5, mesh(&["a"]), Vec::new());
        let both = names.mesh_changed(mesh(&["a", "b"]), changes(&["b"]));
        assert_eq!(both, None, "Envoy has not caught up");
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
            records(names.mesh_changed(mesh(&["a", "b", "c"]), changes(&["c"]))),
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
        let mut names = AnsweredNames::new(5, mesh(&["a"]), Vec::new());
        names.listeners_changed(accepted(&[listener("a", "80")]));
        let removed = ListenerNews {
            removed: BTreeSet::from([listener("a", "80")]),
            ..ListenerNews::default()
        };
        assert_eq!(names.listeners_changed(removed), None);
        assert_eq!(names.mesh_changed(mesh(&["a"]), changes(&["a"])), None);
        let update = names.mesh_changed(mesh(&[]), changes(&["a"]));
        assert_eq!(
            update.map(|update| update.removed_names),
            Some(vec!["a.mesh".to_owned()])
        );
        assert_eq!(
            names.mesh_changed(mesh(&["a"]), changes(&["a"])),
            None,
            "it has to be served again"
        );
    }

    #[test]
    fn an_agent_that_comes_back_is_sent_what_differs() {
        let begin = |services: &[&str], kept: Vec<u64>| {
            let mut names = AnsweredNames::new(5, mesh(services), kept);
            let listeners: Vec<_> = services.iter().map(|service| listener(service, "80")).collect();
            names.listeners_changed(accepted(&listeners))
        };
        let parts = |update: &Option<DnsUpdate>| update.as_ref().map(|update| update.replaced_parts.clone());
        let first = begin(&["a", "b"], Vec::new());
        assert!(first.as_ref().is_some_and(|update| update.full));
        let has: DnsTable = [("a", 1), ("b", 2)]
            .map(|(service, last)| (name(service), vec![IpAddr::from([243, 0, 0, last])]))
            .into();
        let kept = || dns_parts::digests(has.iter().map(|(name, addresses)| (&**name, addresses.as_slice())));
        let unchanged = begin(&["a", "b"], kept());
        assert!(unchanged.as_ref().is_some_and(|update| !update.full), "{unchanged:?}");
        assert_eq!(parts(&unchanged), Some(vec![]));
        assert_eq!(records(unchanged), [""; 0]);
        let more = begin(&["a", "b", "c"], kept());
        assert_eq!(parts(&more), Some(vec![dns_parts::part_of("c.mesh")]));
        assert_eq!(records(more), ["c.mesh 243.0.0.3"]);
        let less = begin(&["a"], kept());
        assert_eq!(parts(&less), Some(vec![dns_parts::part_of("b.mesh")]));
        assert_eq!(records(less), [""; 0]);
    }
}
