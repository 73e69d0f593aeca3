//! The envelope: what store, sync, API and world share about every resource.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;

use crate::kind::{Kind, ServiceKind};
use crate::kinds::Spec;
use crate::kri::Kri;
use crate::labels;
use crate::violation::Violations;

/// What makes a stored resource unique within one control plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: Kind,
    /// Its mesh; empty for global kinds.
    pub mesh: String,
    /// Its core name, which for synced copies is the hashed one.
    pub name: String,
}

impl ResourceKey {
    /// A key; `mesh` is dropped for global kinds.
    pub fn new(kind: Kind, mesh: impl Into<String>, name: impl Into<String>) -> Self {
        let mesh = if kind.is_mesh_scoped() {
            mesh.into()
        } else {
            String::new()
        };
        Self {
            kind,
            mesh,
            name: name.into(),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mesh.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            mesh => write!(f, "{} {}/{}", self.kind, mesh, self.name),
        }
    }
}

/// A resource as stored: header, payload and local status. Payloads are kept as checked JSON in the Universal field
/// names; [`Resource::parse`] gives the typed form.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its kind.
    pub kind: Kind,
    /// Its mesh; empty for global kinds.
    pub mesh: String,
    /// Its core name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The payload: what stands under `spec`, or beside the header for flat kinds. A JSON object.
    pub spec: Value,
    /// The status, owned by the local control plane.
    pub status: Option<Value>,
    /// When it was first stored here.
    pub creation_time: OffsetDateTime,
    /// When its labels or payload last changed here.
    pub modification_time: OffsetDateTime,
}

impl Resource {
    /// A resource with an empty header; times are the epoch until a store sets them.
    pub fn new(kind: Kind, mesh: impl Into<String>, name: impl Into<String>, spec: Value) -> Self {
        let key = ResourceKey::new(kind, mesh, name);
        Self {
            kind,
            mesh: key.mesh,
            name: key.name,
            labels: BTreeMap::new(),
            spec,
            status: None,
            creation_time: OffsetDateTime::UNIX_EPOCH,
            modification_time: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// A resource made of a typed payload.
    pub fn of<T: Spec>(mesh: impl Into<String>, name: impl Into<String>, spec: &T) -> Self {
        Self::new(T::KIND, mesh, name, spec.to_value())
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: impl Into<String>) -> Self {
        self.labels.insert(key.to_owned(), value.into());
        self
    }

    /// Its key.
    pub fn key(&self) -> ResourceKey {
        ResourceKey {
            kind: self.kind,
            mesh: self.mesh.clone(),
            name: self.name.clone(),
        }
    }

    /// The typed payload.
    ///
    /// # Errors
    /// The path of the first field that does not fit, for data that was stored by another version; or that the
    /// resource is of another kind.
    pub fn parse<T: Spec>(&self) -> Result<T, Violations> {
        if self.kind != T::KIND {
            return Err(Violations::one(
                "type",
                format!("is {}, expected {}", self.kind, T::KIND),
            ));
        }
        T::from_value(&self.spec)
    }

    /// The label `key`, or "".
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// The name that users gave it: label `kuma.io/display-name`, else the core name.
    pub fn display_name(&self) -> &str {
        self.labels
            .get(labels::DISPLAY_NAME)
            .map_or(self.name.as_str(), String::as_str)
    }

    /// The zone in label `kuma.io/zone`, or "".
    pub fn zone(&self) -> &str {
        self.label(labels::ZONE)
    }

    /// The Kubernetes namespace in label `k8s.kuma.io/namespace`, or "".
    pub fn namespace(&self) -> &str {
        self.label(labels::NAMESPACE)
    }

    /// True if this control plane owns it: no origin label, or the origin given (`zone` in a zone, `global` on global).
    pub fn is_local(&self, own_origin: &str) -> bool {
        self.labels
            .get(labels::ORIGIN)
            .is_none_or(|origin| origin == own_origin)
    }

    /// The identity by which a service is referred to across control planes; `None` if the resource is no service.
    pub fn service_identity(&self) -> Option<ServiceIdentity> {
        let kind = self.kind.service()?;
        Some(ServiceIdentity::of(kind, self))
    }

    /// Its KRI without section; `None` for kinds that have no short name.
    pub fn kri(&self) -> Option<Kri> {
        Kri::of(self, "")
    }
}

/// The tuple that identifies a service in every control plane, whatever its core name there (`spec/resources.md` §1.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceIdentity {
    /// Its kind.
    pub kind: ServiceKind,
    /// Its mesh.
    pub mesh: String,
    /// Its zone, or "".
    pub zone: String,
    /// Its Kubernetes namespace, or "".
    pub namespace: String,
    /// Its display name.
    pub name: String,
}

impl ServiceIdentity {
    /// The identity that the labels of a resource of that kind give it.
    pub fn of(kind: ServiceKind, resource: &Resource) -> Self {
        Self {
            kind,
            mesh: resource.mesh.clone(),
            zone: resource.zone().to_owned(),
            namespace: resource.namespace().to_owned(),
            name: resource.display_name().to_owned(),
        }
    }
}
