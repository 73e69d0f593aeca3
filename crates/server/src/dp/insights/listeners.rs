//! What the answers of an Envoy say about its listeners.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::proxy_key::ProxyKey;
use meshspan_envoy::names;
use meshspan_model::ProxyKind;
use meshspan_model::kinds::presence::{EGRESS, Listeners, Presence};
use meshspan_xds::{Holdings, Rejection, ResourceType};

/// The files for which Envoy rejected listeners.
pub(in crate::dp) fn unopened_logs(ty: ResourceType, rejected: &[(Arc<str>, Rejection)]) -> BTreeSet<String> {
    let listeners = rejected.iter().filter(|_| ty == ResourceType::Listener);
    let files = listeners.filter_map(|(_, rejection)| meshspan_envoy::unopened_file(&rejection.message));
    files.map(str::to_owned).collect()
}

/// Keeps the inbounds for which Envoy listens, and whether an egress does; true if there is news.
pub(super) fn note_listeners(id: &ProxyKey, presence: &mut Presence, holdings: &Holdings) -> bool {
    let before = presence.listeners.take();
    let mut inbounds = match &before {
        Some(before) if !holdings.first => before.inbounds.clone(),
        _ => BTreeSet::new(),
    };
    let sections = |names: &[Arc<str>]| -> Vec<String> {
        let section = |name: &Arc<str>| match id.kind {
            ProxyKind::ZoneEgress => (**name == *names::egress_listener(&id.name)).then(|| EGRESS.to_owned()),
            ProxyKind::Sidecar | ProxyKind::ZoneIngress => names::inbound_section(name).map(str::to_owned),
        };
        names.iter().filter_map(section).collect()
    };
    inbounds.extend(sections(&holdings.added));
    for section in sections(&holdings.removed) {
        inbounds.remove(&section);
    }
    let after = presence.listeners.insert(Listeners { inbounds });
    before.as_ref() != Some(after)
}
