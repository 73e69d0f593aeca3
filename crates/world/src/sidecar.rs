//! The part of a proxy's configuration that it does not share: its inbounds, and where its application may go.

mod outbounds;

use std::collections::BTreeSet;

use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh::TlsMode;

use self::outbounds::outbounds;
use crate::mesh_state::{DataplaneEntry, MeshState};
use crate::policies::OfProxy;
use crate::services::Reference;
use crate::settings::Settings;
use crate::view::{InboundTls, Sidecar, SidecarView, Source};

/// The services to which a Dataplane refers, if it does not simply reach every destination.
pub(crate) fn references(dataplane: &Dataplane) -> BTreeSet<Reference> {
    if is_limited(dataplane) {
        Reference::of_dataplane(dataplane)
    } else {
        BTreeSet::new()
    }
}

/// True if a Dataplane does not simply reach every destination by VIP.
fn is_limited(dataplane: &Dataplane) -> bool {
    dataplane
        .networking
        .transparent_proxying
        .as_ref()
        .is_none_or(|transparent| transparent.reachable_backends.is_some())
}

/// The view of a sidecar; `None` while the Mesh is unknown.
pub(crate) fn view(
    mesh: &MeshState,
    entry: &DataplaneEntry,
    policies: OfProxy,
    settings: &Settings,
) -> Option<SidecarView> {
    let own_zone = settings.zone.as_str();
    let spec = mesh.mesh.as_ref()?;
    let inbound_tls = match spec.enabled_backend().map(|backend| backend.mode) {
        None => InboundTls::Off,
        Some(TlsMode::Strict) => InboundTls::Strict,
        Some(TlsMode::Permissive) => InboundTls::Permissive,
    };
    let sidecar = Sidecar {
        mesh: entry.resource.mesh.clone(),
        name: entry.resource.name.clone(),
        dataplane: entry.spec.clone(),
        zone: own_zone.to_owned(),
        inbound_tls,
        inbound_policies: policies.inbounds,
        passthrough_confs: policies.passthrough,
        source: Source::of(&entry.spec, &entry.resource),
        passthrough: spec.passthrough(),
        vip_ranges: settings.vip_ranges(),
        outbounds: Vec::new(),
    };
    let limited = is_limited(&entry.spec);
    let outbounds = if limited {
        outbounds(mesh, entry, own_zone)
    } else {
        Vec::new()
    };
    Some(SidecarView {
        sidecar,
        all_destinations: !limited,
        class: policies.class,
        outbounds,
    })
}
