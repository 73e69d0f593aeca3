//! How Dataplanes refer to services in their outbounds and reachable backends, indexed both ways: a service that changes
//! concerns only those who refer to it, and a reference is looked up, not searched for.

use std::collections::{BTreeMap, BTreeSet};

use meshspan_model::kinds::dataplane::{Dataplane, Outbound};
use meshspan_model::kinds::mesh_service::SERVICE_TAG;
use meshspan_model::labels::{TAG_PROTOCOL, TAG_SERVICE, TAG_ZONE};
use meshspan_model::{Kind, ServiceKind};

use super::ServiceEntry;

/// One thing by which a service is referred to. Where a reference has several, such as labels, it is indexed by one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reference {
    /// Its display name.
    Name(ServiceKind, String),
    /// One of its labels.
    Label(ServiceKind, String, String),
    /// A tag that all instances of a MeshService have.
    Tag(String, String),
}

impl Reference {
    /// By labels if there are any, else by name; `None` for a kind that is no service.
    pub(crate) fn to_service(kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let kind = Kind::from_name(kind)?.service()?;
        Some(match labels.first_key_value() {
            Some((key, value)) => Self::Label(kind, key.clone(), value.clone()),
            None => Self::Name(kind, name.to_owned()),
        })
    }

    /// Of an outbound by tags.
    pub(crate) fn to_tags(outbound: &Outbound) -> Option<Self> {
        let tag = |(key, value): (&String, &String)| Self::Tag(key.clone(), value.clone());
        let tags = &outbound.tags;
        let narrow = tags.get_key_value(TAG_SERVICE);
        let other = || {
            tags.iter()
                .find(|(key, _)| ![TAG_PROTOCOL, TAG_ZONE].contains(&key.as_str()))
        };
        narrow.or_else(other).map(tag)
    }

    /// Everything that a Dataplane refers to.
    pub(crate) fn of_dataplane(dataplane: &Dataplane) -> BTreeSet<Self> {
        let networking = &dataplane.networking;
        let transparent = networking.transparent_proxying.as_ref();
        if let Some(backends) = transparent.and_then(|transparent| transparent.reachable_backends.as_ref()) {
            let refs = backends.refs.iter();
            return refs
                .filter_map(|backend| Self::to_service(&backend.kind, &backend.name, &backend.labels))
                .collect();
        }
        let of_outbound = |outbound: &Outbound| match &outbound.backend_ref {
            Some(backend) => Self::to_service(&backend.kind, &backend.name, &backend.labels),
            None => Self::to_tags(outbound),
        };
        networking.outbound.iter().filter_map(of_outbound).collect()
    }
}

/// Everything by which a service may be referred to.
pub(super) fn answered_by(entry: &ServiceEntry) -> BTreeSet<Reference> {
    let resource = entry.resource();
    let kind = entry.kind();
    let labels = resource.labels.iter();
    let mut references: BTreeSet<_> = labels
        .map(|(key, value)| Reference::Label(kind, key.clone(), value.clone()))
        .collect();
    references.insert(Reference::Name(kind, resource.display_name().to_owned()));
    if let ServiceEntry::MeshService(service) = entry {
        let tag = |key: &str, value: &str| Reference::Tag(key.to_owned(), value.to_owned());
        match &service.spec.selector.dataplane_tags {
            Some(tags) => references.extend(tags.iter().map(|(key, value)| tag(key, value))),
            // One that selects otherwise has the tag by which its instances are identified.
            None => {
                let identities = service.spec.identities.iter();
                let of_tag = identities.filter(|identity| identity.identity_type == SERVICE_TAG);
                references.extend(of_tag.map(|identity| tag(TAG_SERVICE, &identity.value)));
            }
        }
    }
    references
}
