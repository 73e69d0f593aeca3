//! DNS records of a mesh, name by name: a service that changes touches its own names only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::services::ServiceKey;
use crate::view::DnsChanges;

/// The records that were handed out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dns {
    records: BTreeMap<Arc<str>, (ServiceKey, IpAddr)>,
    names: BTreeMap<ServiceKey, BTreeSet<Arc<str>>>,
}

impl Dns {
    /// Sets the names that a service holds, all with its virtual IP. A name may pass from one service to another, in whatever
    /// order the two are set.
    pub(crate) fn set(
        &mut self,
        service: &ServiceKey,
        names: BTreeSet<Arc<str>>,
        address: IpAddr,
        changes: &mut DnsChanges,
    ) {
        for name in &names {
            let before = self.records.insert(name.clone(), (service.clone(), address));
            if before.is_none_or(|(_, before)| before != address) {
                changes.insert(name.clone(), Some(vec![address]));
            }
        }
        let before = if names.is_empty() {
            self.names.remove(service)
        } else {
            self.names.insert(service.clone(), names.clone())
        };
        for name in before.unwrap_or_default().difference(&names) {
            self.release(service, name, changes);
        }
    }

    /// Takes all names of a service away.
    pub(crate) fn clear(&mut self, service: &ServiceKey, changes: &mut DnsChanges) {
        for name in self.names.remove(service).unwrap_or_default() {
            self.release(service, &name, changes);
        }
    }

    fn release(&mut self, service: &ServiceKey, name: &Arc<str>, changes: &mut DnsChanges) {
        if self.records.get(name).is_some_and(|(holder, _)| holder == service) {
            self.records.remove(name);
            changes.insert(name.clone(), None);
        }
    }
}
