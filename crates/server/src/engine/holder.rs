//! Who shows an identity: a proxy, in a mesh. A sidecar shows one, in its own mesh; an egress shows one in each mesh with
//! services that lie behind it.

use std::fmt;

use crate::proxy_key::ProxyKey;

/// A proxy as the holder of an identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Holder {
    /// The mesh in which it is somebody.
    pub(super) mesh: String,
    /// The proxy.
    pub(super) proxy: ProxyKey,
}

impl Holder {
    /// Of the identity that a sidecar shows.
    pub(super) fn sidecar(proxy: &ProxyKey) -> Self {
        Self::in_mesh(proxy, &proxy.mesh)
    }

    pub(super) fn in_mesh(proxy: &ProxyKey, mesh: &str) -> Self {
        Self {
            mesh: mesh.to_owned(),
            proxy: proxy.clone(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in mesh {}", self.proxy, self.mesh)
    }
}
