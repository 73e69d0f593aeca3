//! Where zone ingresses and egresses are dialled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::hosts::Unresolved;

/// Addresses of zone proxies of one kind, by zone and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZoneProxies(BTreeMap<String, BTreeMap<String, Dialled>>);

/// What the resource of a proxy gives.
#[derive(Clone, Debug)]
enum Dialled {
    Address(IpAddr, u32),
    /// A name that does not resolve, as a problem.
    Unresolved(String),
}

impl ZoneProxies {
    /// Notes where a proxy is dialled; an address where a name is resolved.
    pub(crate) fn insert(&mut self, zone: &str, name: &str, dialled: Option<(&str, u32)>, unresolved: &[Unresolved]) {
        let Some((address, port)) = dialled else {
            return;
        };
        let dialled = match address.parse() {
            Ok(ip) => Some(Dialled::Address(ip, port)),
            Err(_) => unresolved
                .iter()
                .find(|unresolved| unresolved.name == address)
                .map(|unresolved| Dialled::Unresolved(unresolved.problem())),
        };
        if let Some(dialled) = dialled {
            let proxies = self.0.entry(zone.to_owned()).or_default();
            proxies.insert(name.to_owned(), dialled);
        }
    }

    /// Forgets a proxy.
    pub(crate) fn remove(&mut self, zone: &str, name: &str) {
        if let Some(proxies) = self.0.get_mut(zone) {
            proxies.remove(name);
        }
    }

    /// Addresses of a zone's proxies; two with one address count twice here, callers take a set.
    pub(crate) fn of_zone(&self, zone: &str) -> impl Iterator<Item = (IpAddr, u32)> + use<'_> {
        self.all_of_zone(zone).filter_map(|dialled| match dialled {
            Dialled::Address(ip, port) => Some((*ip, *port)),
            Dialled::Unresolved(_) => None,
        })
    }

    /// What is wrong with names of a zone's proxies that do not resolve.
    pub(crate) fn unresolved_of_zone(&self, zone: &str) -> impl Iterator<Item = &str> + use<'_> {
        self.all_of_zone(zone).filter_map(|dialled| match dialled {
            Dialled::Address(..) => None,
            Dialled::Unresolved(problem) => Some(problem.as_str()),
        })
    }

    fn all_of_zone(&self, zone: &str) -> impl Iterator<Item = &Dialled> + use<'_> {
        self.0.get(zone).into_iter().flat_map(BTreeMap::values)
    }
}
