//! What is served: encoded resources, persistent sets of them, and the snapshot of one proxy.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::resource_type::{PerType, ResourceType};

/// One resource, encoded once and shared by every stream that sends it; a clone costs three reference counts.
///
/// Two are equal if name and version are, for a version stands for the content.
#[derive(Clone)]
pub struct Resource {
    name: Arc<str>,
    version: Arc<str>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Made(Bytes),
    OnDemand(Arc<OnDemand>),
}

/// A body that is made when it is first sent.
struct OnDemand {
    made: OnceLock<Bytes>,
    make: Box<dyn Fn() -> Bytes + Send + Sync>,
}

impl Resource {
    /// `version` must be a function of the resource's content, equal for equal content also after a restart: a proxy
    /// that reconnects names the versions it has. `body` is the protobuf encoding of the message itself, not of an `Any`.
    pub fn new(name: impl Into<Arc<str>>, version: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            body: Body::Made(body.into()),
        }
    }

    /// A resource whose body is made, once, when it is first sent: so that nothing is made for a proxy that has this
    /// version already. `make` must not block for long.
    pub fn on_demand(
        name: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        make: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            body: Body::OnDemand(Arc::new(OnDemand {
                made: OnceLock::new(),
                make: Box::new(make),
            })),
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
    pub fn body(&self) -> &Bytes {
        match &self.body {
            Body::Made(body) => body,
            Body::OnDemand(body) => body.made.get_or_init(&body.make),
        }
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.version) == (&other.name, &other.version)
    }
}

impl Eq for Resource {}

/// Without the body, which may be a private key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)?;
        match &self.body {
            Body::Made(body) => write!(f, " ({} bytes)", body.len()),
            Body::OnDemand(_) => f.write_str(" (on demand)"),
        }
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
    fn a_body_on_demand_is_made_once_and_only_when_it_is_asked_for() {
        let made = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = made.clone();
        let resource = Resource::on_demand("a", "1", move || {
            let before = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            format!("body {before}").into()
        });
        let copy = resource.clone();
        assert_eq!(format!("{resource:?}"), "a@1 (on demand)");
        assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 0);
        assert_eq!(
            (&resource.body()[..], &copy.body()[..]),
            (&b"body 0"[..], &b"body 0"[..])
        );
    }

    #[test]
    fn debug_does_not_show_the_body() {
        let text = format!("{:?}", Resource::new("key", "1", "PRIVATE"));
        assert_eq!(text, "key@1 (7 bytes)");
    }
}
