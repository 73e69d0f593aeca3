//! What is served: encoded resources, persistent sets of them, and the snapshot of one proxy.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::resource_type::{PerType, ResourceType};

/// One resource, encoded once and shared by every stream that sends it; a clone costs three reference counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    name: Arc<str>,
    version: Arc<str>,
    body: Bytes,
}

impl Resource {
    /// `version` must be a function of the resource's content, equal for equal content also after a restart: a proxy
    /// that reconnects names the versions it has. `body` is the protobuf encoding of the message itself, not of an `Any`.
    pub fn new(name: impl Into<Arc<str>>, version: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            body: body.into(),
        }
    }

    /// The name by which proxies ask for it.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The hash of its content.
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The encoded message.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Without the body, which may be a private key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.name, self.version, self.body.len())
    }
}

/// Resources by type and name. Persistent: a clone is cheap and keeps its content while the original is edited.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    by_type: PerType<RedBlackTreeMapSync<Arc<str>, Resource>>,
}

impl ResourceSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource or replaces the one of the same name.
    pub fn insert(&mut self, ty: ResourceType, resource: Resource) {
        self.by_type.get_mut(ty).insert_mut(resource.name.clone(), resource);
    }

    /// Removes a resource; false if there was none of that name.
    pub fn remove(&mut self, ty: ResourceType, name: &str) -> bool {
        self.by_type.get_mut(ty).remove_mut(name)
    }

    /// The resource of that name.
    pub fn get(&self, ty: ResourceType, name: &str) -> Option<&Resource> {
        self.by_type.get(ty).get(name)
    }

    /// All resources of a type, in the order of their names.
    pub fn iter(&self, ty: ResourceType) -> impl Iterator<Item = &Resource> {
        self.by_type.get(ty).values()
    }

    /// How many resources of a type there are.
    pub fn len(&self, ty: ResourceType) -> usize {
        self.by_type.get(ty).size()
    }

    /// Whether there is no resource of any type.
    pub fn is_empty(&self) -> bool {
        ResourceType::ALL.into_iter().all(|ty| self.len(ty) == 0)
    }
}

/// Everything one proxy is served: what it shares with the proxies of its class, and its own.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The half computed once per class of proxies.
    pub shared: ResourceSet,
    /// The proxy's own half; on a name clash it wins.
    pub own: ResourceSet,
}

impl Snapshot {
    /// The resource a proxy sees under that name.
    pub fn get(&self, ty: ResourceType, name: &str) -> Option<&Resource> {
        self.own.get(ty, name).or_else(|| self.shared.get(ty, name))
    }

    /// All resources of a type that a proxy sees, each name once, in no particular order.
    pub fn iter(&self, ty: ResourceType) -> impl Iterator<Item = &Resource> {
        let shared = self
            .shared
            .iter(ty)
            .filter(move |resource| self.own.get(ty, &resource.name).is_none());
        self.own.iter(ty).chain(shared)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use ResourceType::Cluster;

    #[test]
    fn a_clone_keeps_its_content() {
        let mut set = ResourceSet::new();
        set.insert(Cluster, Resource::new("a", "1", "x"));
        let before = set.clone();
        set.insert(Cluster, Resource::new("a", "2", "y"));
        assert!(set.remove(Cluster, "a"));
        assert!(!set.remove(Cluster, "a"));
        assert!(set.is_empty());
        assert_eq!(&**before.get(Cluster, "a").unwrap().version(), "1");
    }

    #[test]
    fn a_proxys_own_resource_hides_the_shared_one() {
        let mut snapshot = Snapshot::default();
        snapshot.shared.insert(Cluster, Resource::new("a", "shared", ""));
        snapshot.shared.insert(Cluster, Resource::new("b", "shared", ""));
        snapshot.own.insert(Cluster, Resource::new("a", "own", ""));
        assert_eq!(&**snapshot.get(Cluster, "a").unwrap().version(), "own");
        let mut seen: Vec<_> = snapshot
            .iter(Cluster)
            .map(|r| format!("{}@{}", r.name(), r.version()))
            .collect();
        seen.sort();
        assert_eq!(seen, ["a@own", "b@shared"]);
    }

    #[test]
    fn debug_does_not_show_the_body() {
        let text = format!("{:?}", Resource::new("key", "1", "PRIVATE"));
        assert_eq!(text, "key@1 (7 bytes)");
    }
}
