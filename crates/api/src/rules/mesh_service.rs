//! MeshService: two fields of its spec are computed by its zone and cross zones with it.

use meshspan_model::kinds::Spec;
use meshspan_model::kinds::dataplane::Dataplane;
use meshspan_model::kinds::mesh_service::{MeshService, TargetPort};
use meshspan_model::{Kind, Resource, Violations};
use meshspan_store::Snapshot;

/// Ports that no inbound of the selected proxies is meant by, so that they lead nowhere.
pub(super) fn warnings(snapshot: &Snapshot, resource: &Resource) -> Vec<String> {
    let Ok(service) = resource.parse::<MeshService>() else {
        return Vec::new();
    };
    let stored = snapshot.list(Kind::Dataplane, Some(&resource.mesh));
    let dataplanes = stored.filter_map(|stored| {
        let dataplane: Dataplane = stored.resource.parse().ok()?;
        let (name, labels) = (&stored.resource.name, &stored.resource.labels);
        service.selects(name, labels, &dataplane).then_some(dataplane)
    });
    let selected: Vec<Dataplane> = dataplanes.collect();
    if selected.is_empty() {
        return Vec::new();
    }
    let has = |target: &TargetPort| {
        let mut inbounds = selected.iter().flat_map(|dataplane| &dataplane.networking.inbound);
        inbounds.any(|inbound| target.is(inbound))
    };
    let ports = service.ports.iter().enumerate();
    let missing = ports.filter_map(|(index, port)| {
        let target = port.target();
        if has(&target) {
            return None;
        }
        let proxies = selected.len();
        Some(match target {
            TargetPort::Name(name) => format!(
                "spec.ports[{index}].targetPort: none of the {proxies} selected proxies has an inbound named \"{name}\" at present; \
                 set name: {name} in networking.inbound of their Dataplanes"
            ),
            TargetPort::Number(number) => format!(
                "spec.ports[{index}]: none of the {proxies} selected proxies has an inbound on port {number} at present; \
                 set targetPort to the port of their inbounds"
            ),
        })
    });
    missing.collect()
}

/// Keeps what the control plane computed. A file that is applied again says nothing of it, and without it the service
/// would be down in all other zones until it is computed anew.
pub(super) fn before_put(resource: &mut Resource, existing: Option<&Resource>) -> Result<(), Violations> {
    let Some(existing) = existing.and_then(|existing| existing.parse::<MeshService>().ok()) else {
        return Ok(());
    };
    let mut service: MeshService = resource.parse()?;
    service.state = existing.state;
    service.identities = existing.identities;
    resource.spec = service.to_value();
    Ok(())
}
