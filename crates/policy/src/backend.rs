//! Resolving the backends of routes (`spec/policies.md` §1.9).

use meshspan_model::ServiceIdentity;
use serde::Deserialize;
use serde_json::Value;

use super::destination::Services;
use meshspan_model::policy::BackendRef;
use meshspan_model::policy::TargetKind;

/// A backend that exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The service.
    pub service: ServiceIdentity,
    /// Its port by name, else number.
    pub section: String,
    /// Share of the requests relative to the other backends; 0 means none.
    pub weight: u32,
}

/// Why a backend cannot be used. Its share of the requests is to be answered with an error, not moved to others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// It is no reference to a service.
    #[error("is no reference to a service")]
    Malformed,
    /// No service has these labels.
    #[error("there is no {kind} with labels {labels}")]
    NoService {
        /// The kind.
        kind: String,
        /// The labels.
        labels: String,
    },
    /// The service has several ports and none is named.
    #[error("{kind} \"{name}\" has {ports} ports, port must be defined")]
    PortMissing {
        /// The kind.
        kind: String,
        /// The service.
        name: String,
        /// How many ports it has.
        ports: usize,
    },
    /// The service does not have this port.
    #[error("{kind} \"{name}\" has no port {port}")]
    NoPort {
        /// The kind.
        kind: String,
        /// The service.
        name: String,
        /// The port.
        port: u32,
    },
}

/// Resolves one entry of `backendRefs` of an effective conf, which is in the newest form. Of several services that
/// match, the oldest counts.
///
/// # Errors
/// Why it cannot be used.
pub fn resolve_backend(reference: &Value, mesh: &str, services: &Services) -> Result<Backend, Unresolved> {
    let reference = BackendRef::deserialize(reference).map_err(|_| Unresolved::Malformed)?;
    let labels = reference.labels.clone().unwrap_or_default();
    let kind = TargetKind::from_name(&reference.kind).ok_or(Unresolved::Malformed)?;
    let candidates = kind
        .service()
        .into_iter()
        .flat_map(|kind| services.with_labels(mesh, kind, &labels));
    let oldest = candidates.min_by_key(|service| (service.creation_time, service.identity.clone()));
    let service = oldest.ok_or_else(|| Unresolved::NoService {
        kind: kind.name().to_owned(),
        labels: labels_text(&labels),
    })?;
    let port = match (reference.port, service.ports.as_slice()) {
        (Some(number), ports) => ports
            .iter()
            .find(|port| port.port == number)
            .ok_or_else(|| Unresolved::NoPort {
                kind: kind.name().to_owned(),
                name: service.identity.name.clone(),
                port: number,
            })?,
        (None, [only]) => only,
        (None, ports) => {
            return Err(Unresolved::PortMissing {
                kind: kind.name().to_owned(),
                name: service.identity.name.clone(),
                ports: ports.len(),
            });
        }
    };
    Ok(Backend {
        service: service.identity.clone(),
        section: port.section(),
        weight: reference.weight(),
    })
}

/// Labels for a message: `a=b, c=d`.
pub(crate) fn labels_text(labels: &super::policy::Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(", ")
}
