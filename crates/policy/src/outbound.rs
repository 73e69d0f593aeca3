//! Confs for outgoing traffic, by destination (`spec/policies.md` §1.8 B).
//!
//! References are resolved once, to services of every kind and to their ports by one name; a lookup then merges what
//! is said of all destinations, of the service, of the port and of the routes that the traffic takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::ServiceIdentity;

use super::destination::{Service, Services};
use super::effective::Effective;
use super::policy::{Contribution, Labels, OutboundItem, OutboundTarget, Policy, PolicyId};
use meshspan_model::policy::PolicyKind;

/// The confs for outgoing traffic of all proxies that have the same policies.
#[derive(Clone, Debug, Default)]
pub struct OutboundRules(BTreeMap<PolicyKind, ByDestination>);

/// The items of one kind.
#[derive(Clone, Debug, Default)]
struct ByDestination {
    all: Vec<Placed>,
    services: BTreeMap<ServiceIdentity, Vec<Placed>>,
}

/// An item at a place where it applies.
#[derive(Clone, Debug)]
struct Placed {
    /// Only to this port; to all if `None`.
    section: Option<String>,
    /// Only to traffic of these routes; to all if `None`.
    routes: Option<Arc<BTreeSet<PolicyId>>>,
    contribution: Arc<Contribution>,
}

/// One destination for which something particular is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedDestination {
    /// The service; `None` for all destinations.
    pub service: Option<ServiceIdentity>,
    /// The port by name, else number; `None` for all ports.
    pub section: Option<String>,
}

impl Placed {
    fn applies(&self, section: Option<&str>, routes: &[PolicyId]) -> bool {
        let section = self.section.as_deref().is_none_or(|own| section == Some(own));
        section
            && self
                .routes
                .as_ref()
                .is_none_or(|own| routes.iter().any(|route| own.contains(route)))
    }
}

/// Where an item applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// To all destinations.
    All,
    /// To these services, each with the port by name, else number, or all ports.
    Services(BTreeMap<ServiceIdentity, Option<String>>),
}

/// Resolves the destinations of an item. Services without the port that the item is about are left out.
pub fn resolve(item: &OutboundItem, services: &Services) -> Resolved {
    let OutboundTarget::Services { kind, labels, .. } = &item.to else {
        return Resolved::All;
    };
    match kind.service() {
        None => Resolved::Services(BTreeMap::new()),
        Some(kind) => resolve_among(
            item,
            services.with_labels(&item.contribution.origin.policy.mesh, kind, labels),
        ),
    }
}

/// Which of these services an item is about.
fn resolve_among<'a>(item: &OutboundItem, candidates: impl Iterator<Item = &'a Arc<Service>>) -> Resolved {
    let OutboundTarget::Services { kind, labels, section } = &item.to else {
        return Resolved::All;
    };
    let mut found = BTreeMap::new();
    for service in candidates {
        let fits = kind.service() == Some(service.identity.kind)
            && service.identity.mesh == item.contribution.origin.policy.mesh
            && service.has_labels(labels);
        if !fits {
            continue;
        }
        if section.is_empty() {
            found.insert(service.identity.clone(), None);
        } else if let Some(port) = service.port(section) {
            found.insert(service.identity.clone(), Some(port.section()));
        }
    }
    Resolved::Services(found)
}

impl OutboundRules {
    /// Resolves the items of the policies that a proxy, or a class of proxies, matched.
    pub fn of(matched: &[Arc<Policy>], services: &Services) -> Self {
        let mut rules = Self::default();
        rules.place_items(matched, |item| resolve(item, services));
        rules
    }

    /// Resolves the items again for one service that came, went, or changed its labels or ports. `matched` are the
    /// policies that these rules were made of.
    pub fn refresh(&mut self, matched: &[Arc<Policy>], services: &Services, service: &ServiceIdentity) {
        for of_kind in self.0.values_mut() {
            of_kind.services.remove(service);
        }
        let Some(service) = services.get(service) else { return };
        self.place_items(matched, |item| match &item.to {
            OutboundTarget::All => Resolved::Services(BTreeMap::new()),
            OutboundTarget::Services { .. } => resolve_among(item, std::iter::once(service)),
        });
    }

    /// True if something is said of this service in particular.
    pub fn is_about(&self, service: &ServiceIdentity) -> bool {
        self.0.values().any(|of_kind| of_kind.services.contains_key(service))
    }

    fn place_items(&mut self, matched: &[Arc<Policy>], resolve: impl Fn(&OutboundItem) -> Resolved) {
        let with_labels = |labels: &Labels| {
            let routes = matched
                .iter()
                .filter(|policy| policy.id.kind == PolicyKind::MeshHTTPRoute);
            let routes = routes.filter(|route| route.has_labels(labels));
            Arc::new(routes.map(|route| route.id.clone()).collect::<BTreeSet<_>>())
        };
        for policy in matched {
            let of_kind = self.0.entry(policy.id.kind).or_default();
            for item in &policy.to {
                let routes = item.routes.as_ref().map(with_labels);
                let placed = |section| Placed {
                    section,
                    routes: routes.clone(),
                    contribution: item.contribution.clone(),
                };
                match resolve(item) {
                    Resolved::All => of_kind.all.push(placed(None)),
                    Resolved::Services(found) => {
                        for (service, section) in found {
                            of_kind.services.entry(service).or_default().push(placed(section));
                        }
                    }
                }
            }
        }
    }

    /// The conf for traffic to a port of a service, by the port's name, else its number (see
    /// [`super::destination::Service::port`]); `routes` are the MeshHTTPRoutes that the traffic takes, if any.
    pub fn lookup(
        &self,
        kind: PolicyKind,
        service: &ServiceIdentity,
        section: &str,
        routes: &[PolicyId],
    ) -> Option<Effective> {
        self.merged(kind, Some(service), Some(section), routes)
    }

    /// The conf for traffic to destinations of which nothing particular is said.
    pub fn everywhere(&self, kind: PolicyKind) -> Option<Effective> {
        self.merged(kind, None, None, &[])
    }

    /// Everything that is said, by destination; each entry includes what is said of wider ones.
    pub fn entries(&self, kind: PolicyKind) -> BTreeMap<NamedDestination, Effective> {
        let Some(of_kind) = self.0.get(&kind) else {
            return BTreeMap::new();
        };
        let mut named = BTreeSet::from([NamedDestination {
            service: None,
            section: None,
        }]);
        for (service, placed) in &of_kind.services {
            named.extend(placed.iter().map(|placed| NamedDestination {
                service: Some(service.clone()),
                section: placed.section.clone(),
            }));
        }
        named
            .into_iter()
            .filter_map(|named| {
                let merged = self.merged(kind, named.service.as_ref(), named.section.as_deref(), &[])?;
                Some((named, merged))
            })
            .collect()
    }

    /// The kinds that say anything.
    pub fn kinds(&self) -> impl Iterator<Item = PolicyKind> {
        self.0.keys().copied()
    }

    fn merged(
        &self,
        kind: PolicyKind,
        service: Option<&ServiceIdentity>,
        section: Option<&str>,
        routes: &[PolicyId],
    ) -> Option<Effective> {
        let of_kind = self.0.get(&kind)?;
        let of_service = service.and_then(|service| of_kind.services.get(service));
        let placed = of_kind.all.iter().chain(of_service.into_iter().flatten());
        let applying = placed.filter(|placed| placed.applies(section, routes));
        Effective::of(kind, applying.map(|placed| placed.contribution.clone()))
    }
}
