//! How a resource is named on the wire.

use std::fmt;

use meshspan_model::{Kind, Resource, ResourceKey};

/// Mesh and name of a resource of a known type; prints as `<name>.<mesh>`, with a trailing dot for global kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireKey {
    /// Its mesh; empty for global kinds.
    pub mesh: String,
    /// Its name as it travels.
    pub name: String,
}

impl WireKey {
    /// The key of a resource that already has its travelling name.
    pub fn of(resource: &Resource) -> Self {
        Self {
            mesh: resource.mesh.clone(),
            name: resource.name.clone(),
        }
    }

    /// Parses `<name>.<mesh>`: the last dot separates, for names may contain dots.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, mesh) = text.rsplit_once('.')?;
        (!name.is_empty()).then(|| Self {
            mesh: mesh.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The key of the copy in a store.
    pub fn stored(&self, kind: Kind) -> ResourceKey {
        ResourceKey::new(kind, self.mesh.clone(), self.name.clone())
    }
}

impl fmt::Display for WireKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.mesh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_dot_separates() {
        for (text, name, mesh) in [
            ("foo-zxw6c95d42zfz9cc.", "foo-zxw6c95d42zfz9cc", ""),
            ("redis.kuma-system.default", "redis.kuma-system", "default"),
        ] {
            let key = WireKey::parse(text);
            assert_eq!(
                key,
                Some(WireKey {
                    mesh: mesh.into(),
                    name: name.into()
                })
            );
            assert_eq!(key.map(|key| key.to_string()).as_deref(), Some(text));
        }
        assert_eq!(WireKey::parse("redis"), None);
        assert_eq!(WireKey::parse(".default"), None);
    }
}
