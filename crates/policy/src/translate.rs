//! From what was written to the newest form (`spec/policies.md` §8): names become labels, `from` becomes rules, subsets
//! become tags, and every item knows where it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshspan_model::{Resource, labels};
use serde_json::{Map, Value};

use super::client_match::ClientMatch;
use super::policy::{
    Contribution, InboundItem, ItemOrigin, Labels, OutboundItem, OutboundTarget, PolicyId, ProxySelector, SelectBy,
};
use super::precedence::{ClientRank, Narrowness, Origin, PolicyRank, Precedence, Ranking};
use meshspan_model::policy::Role;
use meshspan_model::policy::TargetKind;
use meshspan_model::policy::{BackendRef, map_backends};
use meshspan_model::policy::{Document, ToItem};
use meshspan_model::policy::{GATEWAY, SIDECAR, TargetRef};
use meshspan_model::policy::{Part, Routing};

/// A document in the newest form.
pub(crate) struct Meaning {
    pub(crate) proxies: ProxySelector,
    pub(crate) to: Vec<OutboundItem>,
    pub(crate) rules: Vec<InboundItem>,
    pub(crate) default: Option<Arc<Contribution>>,
}

/// Translates a document that passed [`meshspan_model::policy::check`].
pub(crate) fn translate(id: &PolicyId, resource: &Resource, role: Role, document: &Document) -> Meaning {
    let top = document.top();
    let top_kind = TargetKind::from_name(&top.kind).unwrap_or(TargetKind::Mesh);
    let rank = PolicyRank {
        top: top_kind,
        narrowness: narrowness(top_kind, &top),
        origin: Origin::of(resource),
        role,
    };
    let translation = Translation {
        id,
        resource,
        ranking: Ranking::new(rank, id.clone(), resource),
    };
    let top_routes = (top_kind == TargetKind::MeshHTTPRoute).then(|| translation.labels(top_kind, &top));
    let to = document.to().iter().enumerate();
    let mut rules = translation.from(document);
    rules.extend(translation.rules(document));
    let to = to.map(|(index, item)| translation.to(index, item, top_routes.as_ref()));
    Meaning {
        proxies: translation.proxies(top_kind, &top),
        to: to.chain(translation.of_both_sides(top_kind, &rules)).collect(),
        rules,
        default: document
            .default
            .as_ref()
            .filter(|_| id.kind.info().default)
            .map(|conf| {
                let precedence = translation
                    .ranking
                    .item(Part::Default, 0, TargetKind::Mesh, false, ClientRank::All);
                translation.contribution(Part::Default, 0, precedence, conf.clone())
            }),
    }
}

struct Translation<'a> {
    id: &'a PolicyId,
    resource: &'a Resource,
    ranking: Ranking,
}

fn narrowness(kind: TargetKind, top: &TargetRef) -> Narrowness {
    if kind != TargetKind::Dataplane {
        return Narrowness::All;
    }
    let has_section = !top.section_name().is_empty();
    match (top.name().is_empty(), top.has_labels(), has_section) {
        (false, _, true) => Narrowness::NameAndSection,
        (false, _, false) => Narrowness::Name,
        (true, true, true) => Narrowness::LabelsAndSection,
        (true, true, false) => Narrowness::Labels,
        (true, false, true) => Narrowness::Section,
        (true, false, false) => Narrowness::All,
    }
}

impl Translation<'_> {
    fn contribution(&self, part: Part, index: usize, precedence: Precedence, conf: Value) -> Arc<Contribution> {
        Arc::new(Contribution {
            origin: ItemOrigin {
                policy: self.id.clone(),
                part,
                index,
            },
            precedence,
            conf,
        })
    }

    fn proxies(&self, kind: TargetKind, top: &TargetRef) -> ProxySelector {
        let by = match kind {
            TargetKind::Mesh => SelectBy::All,
            TargetKind::MeshSubset | TargetKind::MeshService | TargetKind::MeshServiceSubset => {
                SelectBy::Tags(tags(kind, top))
            }
            TargetKind::Dataplane => SelectBy::Labels(self.labels(kind, top), top.section_name().to_owned()),
            TargetKind::MeshHTTPRoute => SelectBy::Routes(self.labels(kind, top)),
            TargetKind::MeshGateway | TargetKind::MeshExternalService | TargetKind::MeshMultiZoneService => {
                SelectBy::Nothing
            }
        };
        ProxySelector {
            by,
            sidecars: top.includes_proxy_type(SIDECAR),
            gateways: top.includes_proxy_type(GATEWAY),
        }
    }

    fn to(&self, index: usize, item: &ToItem, top_routes: Option<&Labels>) -> OutboundItem {
        let target = item.target_ref.clone().unwrap_or_else(TargetRef::mesh);
        let kind = TargetKind::from_name(&target.kind).unwrap_or(TargetKind::Mesh);
        let (name_section, labels) = self.labels_and_section(kind, &target);
        let section = match target.section_name() {
            "" => name_section,
            section => section.to_owned(),
        };
        let precedence = self
            .ranking
            .item(Part::To, index, kind, !section.is_empty(), ClientRank::All);
        let (to, routes) = match kind {
            TargetKind::MeshHTTPRoute => (OutboundTarget::All, Some(labels)),
            TargetKind::Mesh => (OutboundTarget::All, top_routes.cloned()),
            kind => (OutboundTarget::Services { kind, labels, section }, top_routes.cloned()),
        };
        let conf = match self.id.kind.info().routing {
            Routing::None => item.default.clone().unwrap_or_else(|| Value::Object(Map::new())),
            Routing::ByMatches | Routing::Single => self.routing_conf(item),
        };
        OutboundItem {
            to,
            routes,
            contribution: self.contribution(Part::To, index, precedence, conf),
        }
    }

    /// Fields of inbound confs on which clients and servers have to agree apply to outgoing traffic too.
    fn of_both_sides(&self, top: TargetKind, rules: &[InboundItem]) -> Vec<OutboundItem> {
        let shared = self.id.kind.info().mesh_only_fields;
        if top != TargetKind::Mesh {
            return Vec::new();
        }
        let for_all = rules.iter().filter(|item| item.clients.is_all());
        let outgoing = for_all.filter_map(|item| {
            let written = item.contribution.conf.as_object()?;
            let conf: Map<String, Value> = shared
                .iter()
                .filter_map(|field| Some(((*field).to_owned(), written.get(*field)?.clone())))
                .collect();
            (!conf.is_empty()).then(|| OutboundItem {
                to: OutboundTarget::All,
                routes: None,
                contribution: Arc::new(Contribution {
                    conf: Value::Object(conf),
                    ..(*item.contribution).clone()
                }),
            })
        });
        outgoing.collect()
    }

    /// Backends are relative to the policy that names them, which is lost when rules are merged; so they are made
    /// absolute here.
    fn routing_conf(&self, item: &ToItem) -> Value {
        let mut rules = item.rules.clone().unwrap_or_default();
        for rule in &mut rules {
            map_backends(rule, &|backend| self.backend(backend));
        }
        let mut conf = Map::new();
        conf.insert("rules".to_owned(), Value::Array(rules));
        Value::Object(conf)
    }

    fn backend(&self, written: &BackendRef) -> BackendRef {
        let target = written.target();
        let Some(kind) = TargetKind::from_name(&target.kind) else {
            return written.clone();
        };
        let (section, mut labels) = self.labels_and_section(kind, &target);
        if kind == TargetKind::MeshServiceSubset {
            labels.extend(target.tags.into_iter().flatten());
        }
        let kind = match kind {
            TargetKind::MeshServiceSubset => TargetKind::MeshService,
            kind => kind,
        };
        BackendRef {
            kind: kind.name().to_owned(),
            labels: Some(labels),
            weight: written.weight,
            port: written.port.or_else(|| section.parse().ok()),
            ..BackendRef::default()
        }
    }

    fn from(&self, document: &Document) -> Vec<InboundItem> {
        let items = document.from().iter().enumerate();
        items
            .map(|(index, item)| {
                let target = item.target_ref.clone().unwrap_or_else(TargetRef::mesh);
                let kind = TargetKind::from_name(&target.kind).unwrap_or(TargetKind::Mesh);
                // Of old items the order in the policy decides, however narrow they are.
                let precedence = self
                    .ranking
                    .item(Part::From, index, TargetKind::Mesh, false, ClientRank::All);
                InboundItem {
                    clients: ClientMatch::tags(tags(kind, &target)),
                    contribution: self.contribution(Part::From, index, precedence, conf_of(item.default.as_ref())),
                }
            })
            .collect()
    }

    fn rules(&self, document: &Document) -> Vec<InboundItem> {
        let mut items = Vec::new();
        for (index, rule) in document.rules().iter().enumerate() {
            let mut clients: Vec<ClientMatch> = rule.matches.iter().flatten().map(ClientMatch::from).collect();
            if clients.is_empty() {
                clients.push(ClientMatch::default());
            }
            clients.sort();
            clients.dedup();
            for clients in clients {
                let precedence = self
                    .ranking
                    .item(Part::Rules, index, TargetKind::Mesh, false, clients.rank());
                items.push(InboundItem {
                    clients,
                    contribution: self.contribution(Part::Rules, index, precedence, conf_of(rule.default.as_ref())),
                });
            }
        }
        items
    }

    fn labels(&self, kind: TargetKind, target: &TargetRef) -> Labels {
        self.labels_and_section(kind, target).1
    }

    /// The labels that a reference means, and the section that is hidden in its name.
    fn labels_and_section(&self, kind: TargetKind, target: &TargetRef) -> (String, Labels) {
        if let Some(labels) = target.labels.as_ref().filter(|labels| !labels.is_empty()) {
            return (String::new(), labels.clone());
        }
        if target.name().is_empty() {
            return (String::new(), Labels::new());
        }
        let service = matches!(kind, TargetKind::MeshService | TargetKind::MeshServiceSubset);
        if service
            && target.section_name().is_empty()
            && let Some(kubernetes) = KubernetesName::parse(target.name())
        {
            return (kubernetes.port.to_owned(), kubernetes.labels());
        }
        let mut found = Labels::new();
        found.insert(labels::DISPLAY_NAME.to_owned(), target.name().to_owned());
        let zone = self.resource.zone();
        // What may live on the global control plane is the same for policies of every zone and namespace.
        let zonal = service || kind == TargetKind::Dataplane;
        let namespaced = zonal || kind == TargetKind::MeshHTTPRoute;
        if zonal && !zone.is_empty() {
            found.insert(labels::ZONE.to_owned(), zone.to_owned());
        }
        let namespace = match target.namespace() {
            "" if namespaced && !zone.is_empty() => self.resource.namespace(),
            namespace => namespace,
        };
        if !namespace.is_empty() {
            found.insert(labels::NAMESPACE.to_owned(), namespace.to_owned());
        }
        (String::new(), found)
    }
}

/// A name as Kubernetes services have it in tags: `<service>_<namespace>_svc_<port>`.
struct KubernetesName<'a> {
    service: &'a str,
    namespace: &'a str,
    port: &'a str,
}

impl<'a> KubernetesName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let mut parts = name.split('_');
        let (service, namespace) = (parts.next()?, parts.next()?);
        let (svc, port) = (parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && svc == "svc" && port.parse::<u16>().is_ok();
        (whole && !service.is_empty() && !namespace.is_empty()).then_some(Self {
            service,
            namespace,
            port,
        })
    }

    fn labels(&self) -> Labels {
        Labels::from([
            (labels::DISPLAY_NAME.to_owned(), self.service.to_owned()),
            (labels::NAMESPACE.to_owned(), self.namespace.to_owned()),
        ])
    }
}

/// The tags that a reference to proxies or clients means.
fn tags(kind: TargetKind, target: &TargetRef) -> BTreeMap<String, String> {
    let mut found = target.tags.clone().unwrap_or_default();
    if matches!(kind, TargetKind::MeshService | TargetKind::MeshServiceSubset) {
        found.insert(labels::TAG_SERVICE.to_owned(), target.name().to_owned());
    }
    found
}

fn conf_of(written: Option<&Value>) -> Value {
    match written {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(conf) => conf.clone(),
    }
}
