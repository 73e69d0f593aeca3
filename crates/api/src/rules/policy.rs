//! Policies: their role, and what whoever writes one should know about its effect at present.

use std::sync::Arc;

use meshspan_model::policy::{PolicyKind, Role, check};
use meshspan_model::{Resource, Violations, labels};
use meshspan_policy::{Mode, Policy};

use super::{Context, permission_effects, unknown_zones};
use crate::inspect::MeshPolicies;

/// Sets the role, which users never do (`spec/policies.md` §1.4).
///
/// # Errors
/// The policy mixes roles, says another role than it has, or does what its role must not.
pub(super) fn before_put(
    context: &Context<'_>,
    kind: PolicyKind,
    resource: &mut Resource,
    existing: Option<&Resource>,
) -> Result<(), Violations> {
    let document = check(kind, &resource.spec, Role::System)?.document;
    let role = Role::of(&document, resource.namespace(), &context.settings.system_namespace)?;
    check(kind, &resource.spec, role)?;
    // A document that was read before its namespace was changed has the role of then.
    let (given, stored) = (
        resource.label(labels::POLICY_ROLE),
        existing.map(|stored| stored.label(labels::POLICY_ROLE)),
    );
    if !given.is_empty() && given != role.name() && stored != Some(given) {
        return Err(Violations::one(
            format!("labels[\"{}\"]", labels::POLICY_ROLE),
            format!(
                "is \"{given}\", must be \"{}\", the role that the policy has by its namespace and its spec, or absent",
                role.name()
            ),
        ));
    }
    set_role(resource, role);
    Ok(())
}

/// Writes a role into the labels of a policy.
pub(crate) fn set_role(resource: &mut Resource, role: Role) {
    resource
        .labels
        .insert(labels::POLICY_ROLE.to_owned(), role.name().to_owned());
}

/// What is without effect at present: the whole policy, or some of its references. None of it is an error, since
/// proxies and services may come later.
pub(super) fn warnings(context: &Context<'_>, kind: PolicyKind, resource: &Resource) -> Vec<String> {
    let Ok(policy) = Policy::load(kind, Arc::new(resource.clone())) else {
        return Vec::new();
    };
    let mesh = MeshPolicies::around_one(kind, &resource.mesh, context.snapshot, &context.settings.mode);
    let mut warnings = Vec::new();
    if mesh.touched_by(&policy, Mode::WithShadow).next().is_none() {
        warnings.extend(mesh.untouched(&policy));
    }
    warnings.extend(standing(context, &mesh, &policy));
    warnings
}

/// What of a policy is without effect at present, said when it is written and for as long as it is so: references to
/// nothing, clients and zones that nobody knows, parts that others replace.
pub(crate) fn standing(context: &Context<'_>, mesh: &MeshPolicies<'_>, policy: &Policy) -> Vec<String> {
    let mut warnings = mesh.mistaken(policy);
    warnings.extend(mesh.missing(policy));
    warnings.extend(mesh.silenced(policy));
    warnings.extend(unknown_zones::warnings(context, policy));
    warnings.extend(permission_effects::unknown_clients(context, policy));
    warnings
}
