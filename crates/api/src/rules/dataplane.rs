//! Dataplane: what a zone adds on every write, and which proxies a mesh lets in (`spec/resources.md` §2.2).

use std::collections::BTreeMap;

use meshspan_model::kinds::Spec;
use meshspan_model::kinds::dataplane::{Dataplane, InboundState};
use meshspan_model::kinds::mesh::{DataplaneConstraints, Mesh, TagRule};
use meshspan_model::labels::TAG_ZONE;
use meshspan_model::{Kind, Resource, ResourceKey, Violations};
use meshspan_store::Snapshot;

use crate::provisioning::mesh_spec;

/// Completes a Dataplane that is about to be stored over `existing` and checks that its mesh lets it in. Everything
/// that stores Dataplanes in a zone goes through here, the registration of connecting proxies too.
///
/// # Errors
/// All violations.
pub fn prepare(
    resource: &mut Resource,
    existing: Option<&Resource>,
    zone: &str,
    snapshot: &Snapshot,
) -> Result<(), Violations> {
    let mut dataplane: Dataplane = resource.parse()?;
    dataplane.check_conflicts()?;
    let networking = &mut dataplane.networking;
    let inbounds = networking.inbound.iter_mut().map(|inbound| &mut inbound.tags);
    for tags in inbounds.chain(networking.gateway.iter_mut().map(|gateway| &mut gateway.tags)) {
        tags.insert(TAG_ZONE.to_owned(), zone.to_owned());
    }
    keep_probed_states(
        &mut dataplane,
        existing.and_then(|existing| existing.parse().ok()).as_ref(),
    );
    let mesh = snapshot.get(&ResourceKey::new(Kind::Mesh, "", resource.mesh.as_str()));
    if let Some(mesh) = mesh.map(|stored| mesh_spec(&stored.resource)) {
        check_membership(&dataplane, &mesh)?;
    }
    resource.spec = dataplane.to_value();
    Ok(())
}

/// The state of a probed inbound belongs to the probe: it starts not ready and survives what users write.
fn keep_probed_states(dataplane: &mut Dataplane, existing: Option<&Dataplane>) {
    for inbound in dataplane
        .networking
        .inbound
        .iter_mut()
        .filter(|inbound| inbound.service_probe.is_some())
    {
        let before = existing
            .iter()
            .flat_map(|existing| &existing.networking.inbound)
            .find(|before| {
                before.service_probe.is_some() && before.port == inbound.port && before.address == inbound.address
            });
        inbound.state = before.map_or(InboundState::NotReady, |before| before.state);
    }
}

/// Checks every tag set of a Dataplane against the constraints of its mesh.
///
/// # Errors
/// A violation for each tag set that does not fit.
pub fn check_membership(dataplane: &Dataplane, mesh: &Mesh) -> Result<(), Violations> {
    let constraints = mesh
        .constraints
        .as_ref()
        .and_then(|constraints| constraints.dataplane_proxy.as_ref());
    let Some(constraints) = constraints else { return Ok(()) };
    let mut violations = Violations::new();
    for (index, inbound) in dataplane.networking.inbound.iter().enumerate() {
        check_tags(
            &inbound.tags,
            constraints,
            &format!("networking.inbound[{index}].tags"),
            &mut violations,
        );
    }
    if let Some(gateway) = &dataplane.networking.gateway {
        check_tags(&gateway.tags, constraints, "networking.gateway.tags", &mut violations);
    }
    violations.into_result()
}

fn check_tags(
    tags: &BTreeMap<String, String>,
    constraints: &DataplaneConstraints,
    path: &str,
    violations: &mut Violations,
) {
    let DataplaneConstraints {
        requirements,
        restrictions,
    } = constraints;
    if !requirements.is_empty() && !requirements.iter().any(|rule| matches(rule, tags)) {
        violations.add(
            path,
            "match none of the requirements in constraints.dataplaneProxy of the mesh",
        );
    }
    if restrictions.iter().any(|rule| matches(rule, tags)) {
        violations.add(path, "match a restriction in constraints.dataplaneProxy of the mesh");
    }
}

fn matches(rule: &TagRule, tags: &BTreeMap<String, String>) -> bool {
    rule.tags
        .iter()
        .all(|(key, wanted)| match (tags.get(key), wanted.as_str()) {
            (Some(value), "*") => !value.is_empty(),
            (Some(value), wanted) => value == wanted,
            (None, _) => false,
        })
}
