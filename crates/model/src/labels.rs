//! Label keys and the labels that a control plane computes (`spec/resources.md` §1.5).

use std::collections::BTreeMap;

use crate::kind::Kind;
use crate::name;
use crate::violation::Violations;

/// The name a user gave, where the core name is hashed.
pub const DISPLAY_NAME: &str = "kuma.io/display-name";
/// The mesh.
pub const MESH: &str = "kuma.io/mesh";
/// Who handed this copy to this control plane: [`ORIGIN_GLOBAL`] or [`ORIGIN_ZONE`].
pub const ORIGIN: &str = "kuma.io/origin";
/// The zone that owns it.
pub const ZONE: &str = "kuma.io/zone";
/// `universal` or `kubernetes`.
pub const ENV: &str = "kuma.io/env";
/// Original Kubernetes namespace.
pub const NAMESPACE: &str = "k8s.kuma.io/namespace";
/// Who manages a generated resource.
pub const MANAGED_BY: &str = "kuma.io/managed-by";
/// Value of [`MANAGED_BY`] for MeshServices generated from Dataplanes.
pub const MANAGED_BY_GENERATOR: &str = "meshservice-generator";
/// When the last Dataplane of a generated MeshService went away, RFC 3339.
pub const DELETION_GRACE_PERIOD_STARTED_AT: &str = "kuma.io/deletion-grace-period-started-at";
/// `shadow`: computed for inspection only.
pub const EFFECT: &str = "kuma.io/effect";
/// `true` or `false` on MeshServices of Kubernetes Services.
pub const HEADLESS: &str = "k8s.kuma.io/is-headless-service";
/// Role of a policy.
pub const POLICY_ROLE: &str = "kuma.io/policy-role";

/// Value of [`ORIGIN`].
pub const ORIGIN_GLOBAL: &str = "global";
/// Value of [`ORIGIN`].
pub const ORIGIN_ZONE: &str = "zone";

/// Reserved tag: the service of an inbound.
pub const TAG_SERVICE: &str = "kuma.io/service";
/// Reserved tag: the protocol of an inbound.
pub const TAG_PROTOCOL: &str = "kuma.io/protocol";
/// Reserved tag: the zone of an inbound.
pub const TAG_ZONE: &str = "kuma.io/zone";

/// The side of a control plane, as far as labels depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// Global control plane.
    Global,
    /// Zone control plane with the name of its zone; `federated` if it has a global.
    Zone {
        /// Name of the zone.
        name: &'a str,
        /// True if it is connected to a global.
        federated: bool,
    },
}

impl Role<'_> {
    /// The value of [`ORIGIN`] on what this control plane creates.
    pub fn origin(self) -> &'static str {
        match self {
            Role::Global => ORIGIN_GLOBAL,
            Role::Zone { .. } => ORIGIN_ZONE,
        }
    }
}

/// Adds the labels that a control plane computes on every write, where they are missing: mesh, origin, display name
/// and, in a zone, zone and environment (the newer rules of `spec/resources.md` §9: also on global, also on update).
pub fn compute(kind: Kind, mesh: &str, resource_name: &str, role: Role<'_>, labels: &mut BTreeMap<String, String>) {
    if kind.info().is_insight || kind.info().admin_only || !kind.info().in_api {
        return;
    }
    let mut set = |key: &str, value: &str| {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    if kind.is_mesh_scoped() {
        set(MESH, mesh);
    }
    if matches!(kind, Kind::Mesh | Kind::Zone) {
        return;
    }
    set(DISPLAY_NAME, resource_name);
    match role {
        Role::Global => set(ORIGIN, ORIGIN_GLOBAL),
        Role::Zone { name, .. } => {
            set(ORIGIN, ORIGIN_ZONE);
            if labels.get(ORIGIN).is_some_and(|origin| origin != ORIGIN_GLOBAL) {
                labels.entry(ZONE.to_owned()).or_insert_with(|| name.to_owned());
                labels.entry(ENV.to_owned()).or_insert_with(|| "universal".to_owned());
            }
        }
    }
}

/// Checks the labels that a user supplied.
pub fn validate(
    kind: Kind,
    mesh: &str,
    role: Role<'_>,
    labels: &BTreeMap<String, String>,
    violations: &mut Violations,
) {
    for (key, value) in labels {
        let path = format!("labels[\"{key}\"]");
        if let Err(reason) = name::check_label_key(key) {
            violations.add(&path, reason);
        }
        if let Err(reason) = name::check_label_value(value) {
            violations.add(&path, reason);
        }
    }
    let origin = labels.get(ORIGIN).map(String::as_str);
    let origin_path = format!("labels[\"{ORIGIN}\"]");
    match origin {
        None | Some(ORIGIN_GLOBAL | ORIGIN_ZONE) => {}
        Some(other) => violations.add(
            &origin_path,
            format!("unknown origin \"{other}\", must be \"global\" or \"zone\""),
        ),
    }
    match role {
        Role::Global => {
            if origin == Some(ORIGIN_ZONE) && !kind.info().is_insight {
                violations.add(
                    origin_path,
                    "a resource whose origin is a zone can only be changed in that zone",
                );
            }
        }
        Role::Zone { name, .. } => {
            if origin == Some(ORIGIN_GLOBAL) {
                return;
            }
            if let Some(zone) = labels.get(ZONE).filter(|zone| zone.as_str() != name) {
                violations.add(
                    format!("labels[\"{ZONE}\"]"),
                    format!("is \"{zone}\", must be this zone, \"{name}\", or absent"),
                );
            }
            if let Some(label) = labels
                .get(MESH)
                .filter(|label| kind.is_mesh_scoped() && label.as_str() != mesh)
            {
                violations.add(
                    format!("labels[\"{MESH}\"]"),
                    format!("is \"{label}\", must be the mesh of the resource, \"{mesh}\", or absent"),
                );
            }
        }
    }
}
