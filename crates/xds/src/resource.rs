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
    Encoded(Bytes),
    Deferred(Arc<Deferred>),
}

/// A body that somebody else makes once it is needed.
struct Deferred {
    body: OnceLock<Bytes>,
    request: Box<dyn Fn() + Send + Sync>,
}

impl Resource {
    /// `version` must be a function of the resource's content, equal for equal content also after a restart: a proxy
    /// that reconnects names the versions it has. `body` is the protobuf encoding of the message itself, not of an `Any`.
    pub fn new(name: impl Into<Arc<str>>, version: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            body: Body::Encoded(body.into()),
        }
    }

    /// A resource whose body is made elsewhere, once a stream needs it: so that nothing is made for a proxy that has this
    /// version already, and no stream waits. `request` is called each time a stream would send the resource and cannot; it
    /// must not block. After [`Resource::fulfil`] the change has to be published.
    pub fn deferred(
        name: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        request: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            body: Body::Deferred(Arc::new(Deferred {
                body: OnceLock::new(),
                request: Box::new(request),
            })),
        }
    }

    /// Gives a deferred resource, in all its clones, its body. The first one counts.
    pub fn fulfil(&self, body: impl Into<Bytes>) {
        if let Body::Deferred(deferred) = &self.body {
            deferred.body.get_or_init(|| body.into());
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

    /// The encoded message; `None` while it is not made.
    pub fn body(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Encoded(body) => Some(body),
            Body::Deferred(deferred) => deferred.body.get(),
        }
    }

    /// The same for sending it: what is not made is requested.
    pub(crate) fn body_or_request(&self) -> Option<&Bytes> {
        if let Body::Deferred(deferred) = &self.body
            && deferred.body.get().is_none()
        {
            (deferred.request)();
        }
        self.body()
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
            Body::Encoded(body) => write!(f, " ({} bytes)", body.len()),
            Body::Deferred(_) => f.write_str(" (deferred)"),
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
    fn a_deferred_body_is_requested_when_it_is_needed_and_then_there_in_all_clones() {
        let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = requests.clone();
        let resource = Resource::deferred("a", "1", move || {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let copy = resource.clone();
        assert_eq!(format!("{resource:?}"), "a@1 (deferred)");
        assert_eq!(resource.body(), None);
        assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 0);
        assert_eq!(resource.body_or_request(), None);
        resource.fulfil("body");
        resource.fulfil("other");
        assert_eq!(copy.body_or_request(), Some(&Bytes::from("body")));
        assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 1);
    }

    #[test]
    fn debug_does_not_show_the_body() {
        let text = format!("{:?}", Resource::new("key", "1", "PRIVATE"));
        assert_eq!(text, "key@1 (7 bytes)");
    }
}
