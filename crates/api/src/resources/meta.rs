//! Header checks of a PUT: type, name, mesh and labels (`spec/http-api.md` §4.1, §4.2, in their newer form).

use meshspan_model::kind::Shape;
use meshspan_model::labels::{self, Subject};
use meshspan_model::{Kind, Resource, Violations, name};
use meshspan_store::Snapshot;

use crate::path::Target;
use crate::settings::{Mode, Settings};

/// Checks the header of a resource against the path and the rules of this control plane. Returns what the user should
/// know about a name that is tolerated.
///
/// # Errors
/// All violations.
pub(super) fn check(
    resource: &Resource,
    existing: Option<&Resource>,
    target: &Target,
    settings: &Settings,
) -> Result<Vec<String>, Violations> {
    let kind = resource.kind;
    let mut violations = Violations::new();
    let mut warnings = Vec::new();
    if resource.name != target.name {
        violations.add(
            "name",
            format!("is \"{}\", must be \"{}\" as in the URL", resource.name, target.name),
        );
    }
    if kind.is_mesh_scoped() && resource.mesh != target.mesh {
        violations.add(
            "mesh",
            format!("is \"{}\", must be \"{}\" as in the URL", resource.mesh, target.mesh),
        );
    }
    match (check_name(resource, &settings.mode), existing) {
        (Ok(()), _) => {}
        (Err(reason), None) => violations.add("name", reason),
        (Err(reason), Some(_)) => warnings.push(format!("name: {reason}; new resources with such a name are refused")),
    }
    let subject = Subject {
        kind,
        mesh: &resource.mesh,
        name: &resource.name,
        role: settings.mode.role(),
        stored: existing.map(|existing| &existing.labels),
        check_origin: !settings.disable_origin_label_validation,
    };
    labels::validate(&subject, &resource.labels, &mut violations);
    warnings.extend(labels::unknown(&subject, &resource.labels));
    if requires_origin(kind, settings) && resource.label(labels::ORIGIN) != labels::ORIGIN_ZONE {
        violations.add(
            format!("labels[\"{}\"]", labels::ORIGIN),
            format!(
                "must be \"{}\" on what is created in a zone that has a global control plane",
                labels::ORIGIN_ZONE
            ),
        );
    }
    if let Some(existing) = existing {
        check_owner(existing, settings, &mut violations);
        check_zone(resource, existing, &mut violations);
    }
    violations.into_result().map(|()| warnings)
}

/// Refuses changes of copies that another control plane sent: they would be overwritten.
pub(super) fn check_owner(existing: &Resource, settings: &Settings, violations: &mut Violations) {
    let role = settings.mode.role();
    let alone = matches!(settings.mode, Mode::Zone { federated: false, .. });
    if alone || settings.disable_origin_label_validation || existing.is_local(role.origin()) {
        return;
    }
    let owner = match existing.zone() {
        "" => "the global control plane".to_owned(),
        zone => format!("zone \"{zone}\""),
    };
    violations.add(
        format!("labels[\"{}\"]", labels::ORIGIN),
        format!("the resource belongs to {owner}; change it there"),
    );
}

/// The zone is part of what identifies a resource everywhere.
fn check_zone(resource: &Resource, existing: &Resource, violations: &mut Violations) {
    let (before, after) = (existing.zone(), resource.zone());
    if !before.is_empty() && !after.is_empty() && before != after {
        violations.add(
            format!("labels[\"{}\"]", labels::ZONE),
            format!("is \"{after}\", cannot change from \"{before}\""),
        );
    }
}

fn requires_origin(kind: Kind, settings: &Settings) -> bool {
    settings.mode.is_federated() && !settings.disable_origin_label_validation && kind.info().shape == Shape::Spec
}

fn check_name(resource: &Resource, mode: &Mode) -> Result<(), String> {
    name::check_resource_name(resource)?;
    if let Mode::Zone {
        name: zone,
        federated: true,
    } = mode
        && zone.len() + 1 + resource.name.len() >= name::MAX_NAME
    {
        return Err(format!(
            "is too long: with the zone in front it must have less than {} characters",
            name::MAX_NAME
        ));
    }
    Ok(())
}

/// Refuses a second resource with the identity of another: they would share name and address. Only a namespace, which is
/// given by hand, makes that possible.
///
/// # Errors
/// The other resource.
pub(super) fn check_identity(resource: &Resource, snapshot: &Snapshot) -> Result<(), Violations> {
    if resource.namespace().is_empty() {
        return Ok(());
    }
    fn identity(resource: &Resource) -> [&str; 3] {
        [resource.zone(), resource.namespace(), resource.display_name()]
    }
    let [_, namespace, name] = identity(resource);
    let mut all = snapshot.list(resource.kind, Some(&resource.mesh));
    let other =
        all.find(|stored| stored.resource.name != resource.name && identity(&stored.resource) == identity(resource));
    match other {
        None => Ok(()),
        Some(other) => Err(Violations::one(
            format!("labels[\"{}\"]", labels::NAMESPACE),
            format!(
                "makes this the same as \"{}\", which is known as \"{}\" in namespace \"{}\" too; change one of them",
                other.resource.name, name, namespace
            ),
        )),
    }
}

/// Completes the labels: what identifies a resource survives an update that does not mention it, the rest is computed.
pub(super) fn complete_labels(resource: &mut Resource, existing: Option<&Resource>, settings: &Settings) {
    if let Some(existing) = existing {
        for key in [labels::DISPLAY_NAME, labels::ZONE, labels::NAMESPACE] {
            if let Some(value) = existing.labels.get(key) {
                resource.labels.entry(key.to_owned()).or_insert_with(|| value.clone());
            }
        }
    }
    let Resource {
        kind,
        mesh,
        name,
        labels,
        ..
    } = resource;
    labels::compute(*kind, mesh, name, settings.mode.role(), labels);
}
