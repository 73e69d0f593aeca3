//! Where zones are entered: the public addresses of their ingresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshspan_model::kinds::zone_ingress::ZoneIngress;

use crate::hosts::Unresolved;

/// Public addresses of zone ingresses, by zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct IngressAddresses(BTreeMap<String, BTreeMap<String, Public>>);

/// What the resource of an ingress gives.
#[derive(Clone, Debug)]
enum Public {
    Address(IpAddr, u32),
    /// A name that does not resolve, as a problem.
    Unresolved(String),
}

impl IngressAddresses {
    /// Notes what an ingress gives; its spec has addresses where names are resolved.
    pub(crate) fn insert(&mut self, zone: &str, name: &str, spec: &ZoneIngress, unresolved: &[Unresolved]) {
        let Some((address, port)) = spec.public_address() else {
            return;
        };
        let public = match address.parse() {
            Ok(ip) => Some(Public::Address(ip, port)),
            Err(_) => unresolved
                .iter()
                .find(|unresolved| unresolved.name == address)
                .map(|unresolved| Public::Unresolved(unresolved.problem())),
        };
        if let Some(public) = public {
            let ingresses = self.0.entry(zone.to_owned()).or_default();
            ingresses.insert(name.to_owned(), public);
        }
    }

    /// Forgets an ingress.
    pub(crate) fn remove(&mut self, zone: &str, name: &str) {
        if let Some(ingresses) = self.0.get_mut(zone) {
            ingresses.remove(name);
        }
    }

    /// Addresses of a zone's ingresses; two ingresses with one address count twice here, callers take a set.
    pub(crate) fn of_zone(&self, zone: &str) -> impl Iterator<Item = (IpAddr, u32)> + use<'_> {
        self.all_of_zone(zone).filter_map(|public| match public {
            Public::Address(ip, port) => Some((*ip, *port)),
            Public::Unresolved(_) => None,
        })
    }

    /// What is wrong with names of a zone's ingresses that do not resolve.
    pub(crate) fn unresolved_of_zone(&self, zone: &str) -> impl Iterator<Item = &str> + use<'_> {
        self.all_of_zone(zone).filter_map(|public| match public {
            Public::Address(..) => None,
            Public::Unresolved(problem) => Some(problem.as_str()),
        })
    }

    fn all_of_zone(&self, zone: &str) -> impl Iterator<Item = &Public> + use<'_> {
        self.0.get(zone).into_iter().flat_map(BTreeMap::values)
    }
}
