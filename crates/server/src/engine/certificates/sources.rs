//! Where the CA of an mTLS backend comes from: secrets of the mesh, or the Mesh itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use meshspan_identity::secret_names;
use meshspan_model::kinds::mesh::CaBackend;
use meshspan_model::kinds::secret::Secret;
use meshspan_model::{Kind, Resource, ResourceKey};

use crate::engine::issuer::CaSource;

/// All stored secrets.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<ResourceKey, Arc<Resource>>);

impl Secrets {
    /// Takes a secret, `None` if it is gone.
    pub(super) fn set(&mut self, key: &ResourceKey, after: Option<&Arc<Resource>>) {
        match after {
            Some(resource) => self.0.insert(key.clone(), resource.clone()),
            None => self.0.remove(key),
        };
    }

    /// Where a backend's CA comes from. Both halves arrive one after the other, so a missing half is no error.
    pub(super) fn source(&self, mesh: &str, backend: &CaBackend) -> Option<CaSource> {
        let (certificate, key) = match names(mesh, backend) {
            Some([certificate, key]) => (self.text(mesh, &certificate)?, self.text(mesh, &key)?),
            None => (inline(backend, "cert")?, inline(backend, "key")?),
        };
        Some(CaSource {
            mesh: mesh.to_owned(),
            certificate,
            key,
        })
    }

    fn text(&self, mesh: &str, name: &str) -> Option<String> {
        let resource = self.0.get(&ResourceKey::new(Kind::Secret, mesh, name))?;
        decode(&resource.parse::<Secret>().ok()?.data)
    }
}

/// Names of the secrets that hold a backend's certificate and key; `None` if they are in the Mesh itself.
pub(super) fn names(mesh: &str, backend: &CaBackend) -> Option<[String; 2]> {
    if backend.backend_type == "builtin" {
        return Some([
            secret_names::builtin_ca_cert(mesh, &backend.name),
            secret_names::builtin_ca_key(mesh, &backend.name),
        ]);
    }
    let name = |part: &str| {
        backend
            .conf
            .as_ref()?
            .get(part)?
            .get("secret")?
            .as_str()
            .map(str::to_owned)
    };
    Some([name("cert")?, name("key")?])
}

/// A data source that is written into the Mesh.
fn inline(backend: &CaBackend, part: &str) -> Option<String> {
    let source = backend.conf.as_ref()?.get(part)?;
    let text = source
        .get("inlineString")
        .and_then(|text| text.as_str())
        .map(str::to_owned);
    text.or_else(|| decode(source.get("inline")?.as_str()?))
}

fn decode(base64: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(base64).ok()?).ok()
}
