//! The listeners of a proxy whose Envoy cannot open some access logs. That costs the logs, never the traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshspan_xds::{Resource, ResourceSet, ResourceType};

/// The files that one Envoy cannot open, and what its listeners become without them.
#[derive(Default)]
pub(super) struct UnopenedLogs {
    files: BTreeSet<String>,
    /// By name: the version of the whole listener, and the listener without the logs if it has such.
    made: BTreeMap<Arc<str>, (Arc<str>, Option<Resource>)>,
}

impl UnopenedLogs {
    /// Adds files; true if some are new.
    pub(super) fn add(&mut self, files: BTreeSet<String>) -> bool {
        let before = self.files.len();
        self.files.extend(files);
        let news = self.files.len() != before;
        if news {
            self.made.clear();
        }
        news
    }

    /// The proxy's own half with the listeners in it that have to be without logs, of both halves; `None` if nothing is
    /// to be left out.
    pub(super) fn left_out(&mut self, shared: &ResourceSet, own: &ResourceSet) -> Option<ResourceSet> {
        if self.files.is_empty() {
            return None;
        }
        let ty = ResourceType::Listener;
        let shared = shared
            .iter(ty)
            .filter(|listener| own.get(ty, listener.name()).is_none());
        let mut made = BTreeMap::new();
        let mut result = own.clone();
        for listener in own.iter(ty).chain(shared) {
            let known = self.made.remove(listener.name());
            let without = match known.filter(|(version, _)| version == listener.version()) {
                Some((_, without)) => without,
                None => self.without(listener),
            };
            if let Some(without) = &without {
                result.insert(ty, without.clone());
            }
            made.insert(listener.name().clone(), (listener.version().clone(), without));
        }
        self.made = made;
        Some(result)
    }

    fn without(&self, listener: &Resource) -> Option<Resource> {
        let (name, version) = (listener.name(), listener.version());
        let encoded = meshspan_envoy::without_file_logs(name, version, listener.body()?, &self.files)?;
        Some(Resource::new(encoded.name, encoded.version, encoded.body))
    }
}
