//! MeshServices generated from Dataplanes on Universal (`spec/resources.md` §3.1, with the newer rules of §9).

use std::collections::BTreeMap;

use meshspan_model::kinds::mesh::MeshServicesMode;
use meshspan_model::kinds::mesh_service::{MeshService, Port, Selector, State, TargetPort};
use meshspan_model::labels::{self, TAG_SERVICE};
use meshspan_model::{Kind, Resource, ResourceKey, name};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::mesh_state::{DataplaneEntry, MeshState};
use crate::settings::Settings;
use crate::world::Write;

/// What to do about the generated MeshService of one `kuma.io/service` value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Generated {
    /// Nothing.
    Unchanged,
    /// Store it.
    Write(Box<Write>),
    /// Look again at that time: its grace period ends then.
    Later(OffsetDateTime),
}

/// The MeshService that the Dataplanes of `service` ask for.
pub(crate) fn generate(
    mesh_name: &str,
    mesh: &MeshState,
    service: &str,
    settings: &Settings,
    now: OffsetDateTime,
) -> Generated {
    let Some(spec) = &mesh.mesh else {
        return Generated::Unchanged;
    };
    let existing = mesh.services.mesh_service(service);
    if existing
        .is_some_and(|entry| !entry.local || entry.resource.label(labels::MANAGED_BY) != labels::MANAGED_BY_GENERATOR)
    {
        return Generated::Unchanged;
    }
    let key = ResourceKey::new(Kind::MeshService, mesh_name, service);
    if spec.mesh_services_mode() == MeshServicesMode::Disabled {
        return if existing.is_some() {
            write(Write::Delete(key))
        } else {
            Generated::Unchanged
        };
    }
    let names = mesh.index.dataplanes_by_service.get(service);
    let mut dataplanes: Vec<_> = names
        .into_iter()
        .flatten()
        .filter_map(|name| mesh.dataplanes.get(name))
        .collect();
    dataplanes.retain(|entry| entry.spec.networking.gateway.is_none());
    dataplanes.sort_by_key(|entry| (entry.resource.creation_time, entry.resource.name.clone()));
    let Some(oldest) = dataplanes.first() else {
        return existing.map_or(Generated::Unchanged, |entry| {
            expire(&entry.resource, key, settings, now)
        });
    };
    if name::check_label(service).is_err() {
        return Generated::Unchanged;
    }
    let ports = match existing {
        Some(entry)
            if dataplanes
                .iter()
                .any(|dataplane| ports_of(dataplane, service) == entry.spec.ports) =>
        {
            entry.spec.ports.clone()
        }
        _ => ports_of(oldest, service),
    };
    let selector = Selector {
        dataplane_tags: Some(BTreeMap::from([(TAG_SERVICE.to_owned(), service.to_owned())])),
        ..Selector::default()
    };
    // What the zone computes stays: a rewritten service must not look unavailable for a moment.
    let (state, identities) = existing.map_or((Some(State::default()), Vec::new()), |entry| {
        (entry.spec.state, entry.spec.identities.clone())
    });
    let spec = MeshService {
        state,
        selector,
        ports,
        identities,
    };
    let mut resource = Resource::of(mesh_name, service, &spec);
    resource.labels = BTreeMap::from(
        [
            (labels::MESH, mesh_name),
            (labels::DISPLAY_NAME, service),
            (labels::MANAGED_BY, labels::MANAGED_BY_GENERATOR),
            (labels::ENV, "universal"),
            (labels::ORIGIN, labels::ORIGIN_ZONE),
            (labels::ZONE, &settings.zone),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    resource.labels.extend(copied_labels(&dataplanes));
    match existing {
        Some(entry) if entry.resource.labels == resource.labels && *entry.spec == spec => Generated::Unchanged,
        _ => write(Write::Put(resource)),
    }
}

fn write(write: Write) -> Generated {
    Generated::Write(Box::new(write))
}

/// Inbounds with that service tag as ports, in inbound order.
fn ports_of(entry: &DataplaneEntry, service: &str) -> Vec<Port> {
    let inbounds = entry
        .spec
        .networking
        .inbound
        .iter()
        .filter(|inbound| inbound.service() == service);
    inbounds
        .map(|inbound| Port {
            name: inbound.section(),
            port: inbound.port,
            target_port: Some(TargetPort::Number(inbound.port)),
            app_protocol: inbound.protocol().to_owned(),
        })
        .collect()
}

/// Labels of the Dataplanes that are not reserved; where they differ, the value that most have, then the smallest.
fn copied_labels(dataplanes: &[&DataplaneEntry]) -> BTreeMap<String, String> {
    let mut votes: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (key, value) in dataplanes.iter().flat_map(|entry| &entry.resource.labels) {
        if !is_reserved(key) {
            *votes.entry(key).or_default().entry(value).or_default() += 1;
        }
    }
    let winner = |values: BTreeMap<&str, usize>| {
        values
            .into_iter()
            .rev()
            .max_by_key(|(_, count)| *count)
            .map(|(value, _)| value.to_owned())
    };
    votes
        .into_iter()
        .filter_map(|(key, values)| Some((key.to_owned(), winner(values)?)))
        .collect()
}

/// Labels that the system gives meaning to; a namespace may be given by hand, so that selectors can use it.
fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    key != labels::NAMESPACE && (domain == "kuma.io" || domain.ends_with(".kuma.io"))
}

/// A service without Dataplanes: starts its grace period, or ends it.
fn expire(resource: &Resource, key: ResourceKey, settings: &Settings, now: OffsetDateTime) -> Generated {
    let started = resource
        .labels
        .get(labels::DELETION_GRACE_PERIOD_STARTED_AT)
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    match started {
        Some(started) if started + settings.deletion_grace_period <= now => write(Write::Delete(key)),
        Some(started) => Generated::Later(started + settings.deletion_grace_period),
        None => {
            let mut resource = resource.clone();
            resource.labels.insert(
                labels::DELETION_GRACE_PERIOD_STARTED_AT.to_owned(),
                meshspan_model::document::timestamp(now),
            );
            write(Write::Put(resource))
        }
    }
}
