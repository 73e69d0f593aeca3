//! Which service holds which hostname (`spec/resources.md` §6).
//!
//! Every service claims the hostnames that the generators make for it; the first claim in generator order, then
//! resource order, holds the name. Claims are kept per hostname, so that one change touches only those who share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_model::Resource;
use meshspan_model::kinds::hostname_generator::HostnameGenerator;
use meshspan_model::kinds::mesh_service::{Address, Condition, CoreNameRef, HostnameGeneratorStatus};
use meshspan_model::labels;
use meshspan_model::template::{Template, Values};
use time::OffsetDateTime;

use crate::services::ServiceKey;

/// A generator, ready to use.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    rank: GeneratorRank,
    spec: HostnameGenerator,
    template: Template,
}

/// Origin `zone` first, then age, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GeneratorRank {
    of_global: bool,
    created: OffsetDateTime,
    name: String,
}

impl Generator {
    /// A generator; `None` where its template no longer parses.
    pub(crate) fn new(resource: &Resource, spec: HostnameGenerator) -> Option<Arc<Self>> {
        let template = Template::parse(&spec.template).ok()?;
        let of_global = !resource.is_local(labels::ORIGIN_ZONE);
        let rank = GeneratorRank {
            of_global,
            created: resource.creation_time,
            name: resource.name.clone(),
        };
        Some(Arc::new(Self { rank, spec, template }))
    }

    /// True if it gives a service a name, or tries to.
    pub(crate) fn selects(&self, service: &ServiceKey, resource: &Resource) -> bool {
        let selector = self.spec.selector.for_kind(service.kind);
        selector.is_some_and(|wanted| wanted.matches(&resource.labels))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    generator: GeneratorRank,
    created: OffsetDateTime,
    service: ServiceKey,
    /// For messages.
    display_name: String,
}

#[derive(Clone, Debug)]
enum Outcome {
    Hostname(String),
    Failed(String),
}

/// Who holds a hostname, by key and display name.
type Holder = Option<(ServiceKey, String)>;

fn holder(claims: &BTreeSet<Claim>) -> Holder {
    claims
        .first()
        .map(|claim| (claim.service.clone(), claim.display_name.clone()))
}

/// The claims of one mesh.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hostnames {
    claims: BTreeMap<String, BTreeSet<Claim>>,
    by_service: BTreeMap<ServiceKey, Vec<(GeneratorRank, Outcome)>>,
}

impl Hostnames {
    /// Renews the claims of one service; `resource` is `None` when it is gone. Returns other services that claim hostnames
    /// of which the holder changed by that.
    pub(crate) fn update<'a>(
        &mut self,
        service: &ServiceKey,
        resource: Option<&Resource>,
        own_zone: &str,
        generators: impl Iterator<Item = &'a Arc<Generator>>,
    ) -> BTreeSet<ServiceKey> {
        let mut holders = self.withdraw(service);
        let mut outcomes = Vec::new();
        for (resource, generator) in generators.filter_map(|generator| Some((resource?, generator))) {
            if !generator.selects(service, resource) {
                continue;
            }
            let zone = match resource.zone() {
                "" => own_zone,
                zone => zone,
            };
            let values = Values {
                display_name: resource.display_name(),
                name: &resource.name,
                namespace: resource.namespace(),
                zone,
                mesh: &resource.mesh,
                labels: &resource.labels,
            };
            match generator.template.render(values) {
                Ok(hostname) if hostname.is_empty() => {}
                Ok(hostname) => outcomes.push((generator.rank.clone(), Outcome::Hostname(hostname))),
                Err(error) => outcomes.push((generator.rank.clone(), Outcome::Failed(error.to_string()))),
            }
        }
        for (rank, outcome) in &outcomes {
            if let (Outcome::Hostname(hostname), Some(resource)) = (outcome, resource) {
                let claims = self.claims.entry(hostname.clone()).or_default();
                holders.entry(hostname.clone()).or_insert_with(|| holder(claims));
                claims.insert(Claim {
                    generator: rank.clone(),
                    created: resource.creation_time,
                    service: service.clone(),
                    display_name: resource.display_name().to_owned(),
                });
            }
        }
        if resource.is_some() {
            self.by_service.insert(service.clone(), outcomes);
        }
        let mut affected = BTreeSet::new();
        for (hostname, before) in holders {
            let Some(claims) = self.claims.get(&hostname) else {
                continue;
            };
            // Whoever waits for a hostname says who holds it.
            if holder(claims) != before {
                affected.extend(claims.iter().map(|claim| claim.service.clone()));
            }
        }
        affected.remove(service);
        affected
    }

    /// Takes a service's claims back; returns who held these hostnames before.
    fn withdraw(&mut self, service: &ServiceKey) -> BTreeMap<String, Holder> {
        let mut holders = BTreeMap::new();
        for (_, outcome) in self.by_service.remove(service).unwrap_or_default() {
            let Outcome::Hostname(hostname) = outcome else { continue };
            if let Some(claims) = self.claims.get_mut(&hostname) {
                let before = holder(claims);
                claims.retain(|claim| claim.service != *service);
                if claims.is_empty() {
                    self.claims.remove(&hostname);
                }
                // Several generators may give a service the same hostname.
                holders.entry(hostname).or_insert(before);
            }
        }
        holders
    }

    /// The hostnames that a service holds, and what each generator did, ordered by generator name.
    pub(crate) fn of(&self, service: &ServiceKey) -> (Vec<Address>, Vec<HostnameGeneratorStatus>) {
        let (mut addresses, mut statuses) = (Vec::new(), Vec::new());
        let mut outcomes: Vec<_> = self.by_service.get(service).into_iter().flatten().collect();
        outcomes.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut held = BTreeSet::new();
        for (rank, outcome) in outcomes {
            let reference = CoreNameRef {
                core_name: rank.name.clone(),
            };
            let (reason, message) = match outcome {
                Outcome::Failed(message) => ("TemplateError", message.clone()),
                Outcome::Hostname(hostname) => match self.claims.get(hostname).and_then(BTreeSet::first) {
                    Some(holder) if holder.service != *service => (
                        "Collision",
                        format!(
                            "hostname {hostname} is held by {} {}",
                            holder.service.kind.kind(),
                            holder.display_name
                        ),
                    ),
                    _ => {
                        if held.insert(hostname) {
                            addresses.push(Address {
                                hostname: hostname.clone(),
                                origin: "HostnameGenerator".to_owned(),
                                hostname_generator_ref: reference.clone(),
                            });
                        }
                        ("Generated", String::new())
                    }
                },
            };
            let status = if reason == "Generated" { "True" } else { "False" };
            statuses.push(HostnameGeneratorStatus {
                hostname_generator_ref: reference,
                conditions: vec![Condition {
                    condition_type: "Generated".to_owned(),
                    status: status.to_owned(),
                    reason: reason.to_owned(),
                    message,
                }],
            });
        }
        (addresses, statuses)
    }
}
