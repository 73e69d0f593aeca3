//! Which proxy is meant: every table and every message of this process names proxies by these keys.

use std::fmt;

use meshspan_model::{ProxyKind, ResourceKey};

/// Names one proxy: the key of its resource, of which the kind is that of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyKey {
    /// What kind of proxy it is.
    pub kind: ProxyKind,
    /// Its mesh; empty for kinds that belong to none.
    pub mesh: String,
    /// The core name of its resource.
    pub name: String,
}

impl ProxyKey {
    /// A key; `mesh` is dropped for kinds that belong to none.
    pub fn new(kind: ProxyKind, mesh: impl Into<String>, name: impl Into<String>) -> Self {
        let ResourceKey { mesh, name, .. } = ResourceKey::new(kind.resource(), mesh, name);
        Self { kind, mesh, name }
    }

    /// The key of a Dataplane's proxy.
    pub fn sidecar(mesh: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(ProxyKind::Sidecar, mesh, name)
    }

    /// The proxy that calls itself by a type (`proxyType` of a bootstrap request and of node metadata, empty for
    /// `dataplane`), a mesh and a name.
    ///
    /// # Errors
    /// Says what the type is and must be.
    pub fn of_type(proxy_type: &str, mesh: &str, name: &str) -> Result<Self, String> {
        let kind = match proxy_type {
            "" | "dataplane" => ProxyKind::Sidecar,
            "ingress" => ProxyKind::ZoneIngress,
            "egress" => ProxyKind::ZoneEgress,
            other => {
                return Err(format!(
                    "is \"{}\", must be dataplane, ingress or egress",
                    meshspan_log_limit::shown(other)
                ));
            }
        };
        Ok(Self::new(kind, mesh, name))
    }

    /// The proxy that a resource describes; `None` for a resource of another kind.
    pub fn of_resource(key: &ResourceKey) -> Option<Self> {
        let kind = ProxyKind::ALL.iter().find(|kind| kind.resource() == key.kind)?;
        Some(Self::new(*kind, key.mesh.as_str(), key.name.as_str()))
    }

    /// The key of its resource.
    pub fn resource(&self) -> ResourceKey {
        ResourceKey::new(self.kind.resource(), self.mesh.as_str(), self.name.as_str())
    }

    /// The key of its insight.
    pub fn insight(&self) -> ResourceKey {
        ResourceKey::new(self.kind.insight(), self.mesh.as_str(), self.name.as_str())
    }
}

impl fmt::Display for ProxyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource().fmt(f)
    }
}
