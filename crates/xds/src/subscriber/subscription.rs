//! Which names of one type a client asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The name that stands for everything.
pub(super) const WILDCARD: &str = "*";

/// The names of one type a client is subscribed to on this stream.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    requested: bool,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
}

/// What one request did to a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edit {
    /// Names subscribed to, also those that were already.
    pub subscribed: Vec<Arc<str>>,
    /// Names the client was subscribed to until now.
    pub unsubscribed: Vec<Arc<str>>,
    /// The client asked for everything, perhaps again.
    pub wildcard_on: bool,
    /// The client wanted everything until now.
    pub wildcard_off: bool,
    /// This was the first request for the type on the stream.
    pub first: bool,
}

impl Subscription {
    /// Whether the client has sent a request for the type.
    pub(super) const fn is_requested(&self) -> bool {
        self.requested
    }

    /// Whether the client is to hear of a resource of this name.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether the client is subscribed to everything.
    pub(super) const fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names subscribed to one by one.
    pub(super) const fn names(&self) -> &BTreeSet<Arc<str>> {
        &self.names
    }

    /// Applies a request's lists. `legacy_wildcard`: a first request that lists nothing asks for everything.
    pub(super) fn edit(&mut self, subscribe: &[String], unsubscribe: &[String], legacy_wildcard: bool) -> Edit {
        let mut edit = Edit {
            first: !self.requested,
            ..Edit::default()
        };
        self.requested = true;
        edit.wildcard_on = edit.first && legacy_wildcard && subscribe.is_empty() && unsubscribe.is_empty();
        for name in subscribe {
            if name == WILDCARD {
                edit.wildcard_on = true;
            } else {
                let name: Arc<str> = name.as_str().into();
                self.names.insert(name.clone());
                edit.subscribed.push(name);
            }
        }
        self.wildcard |= edit.wildcard_on;
        for name in unsubscribe {
            if name == WILDCARD {
                edit.wildcard_off |= self.wildcard;
                self.wildcard = false;
            } else if let Some(name) = self.names.take(name.as_str()) {
                edit.unsubscribed.push(name);
            }
        }
        edit
    }
}
