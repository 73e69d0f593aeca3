//! Label keys and the labels that a control plane computes (`spec/resources.md` §1.5).

use std::collections::BTreeMap;

use crate::kind::Kind;
use crate::name;
use crate::policy::PolicyKind;
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
/// Whether a policy is in effect; [`EFFECT_SHADOW`] or absent.
pub const EFFECT: &str = "kuma.io/effect";
/// Value of [`EFFECT`]: computed for inspection only.
pub const EFFECT_SHADOW: &str = "shadow";
/// `true` or `false` on MeshServices of Kubernetes Services.
pub const HEADLESS: &str = "k8s.kuma.io/is-headless-service";
/// Role of a policy.
pub const POLICY_ROLE: &str = "kuma.io/policy-role";
/// By which users keep a resource where it is, with the value `disabled` (2.10 and later).
pub const KDS_SYNC: &str = "kuma.io/kds-sync";
/// The Kubernetes Service that a resource was made of.
pub const SERVICE_NAME: &str = "k8s.kuma.io/service-name";

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

/// A resource that is written, as far as its reserved labels have to agree with it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its mesh, or "".
    pub mesh: &'a str,
    /// Its core name.
    pub name: &'a str,
    /// The control plane that it is written on.
    pub role: Role<'a>,
    /// Its labels as they are stored. What is stored may always be written again.
    pub stored: Option<&'a BTreeMap<String, String>>,
    /// Whether [`ORIGIN`] must be that of the control plane.
    pub check_origin: bool,
}

/// Most labels of one resource.
pub const MAX_LABELS: usize = 100;

/// Checks the labels that a user supplied: their number, their form, and that those which control planes compute say what would be
/// computed.
pub fn validate(subject: &Subject<'_>, labels: &BTreeMap<String, String>, violations: &mut Violations) {
    if labels.len() > MAX_LABELS {
        let found = labels.len();
        violations.add(
            "labels",
            format!("has {found} labels, at most {MAX_LABELS} are allowed: remove some"),
        );
    }
    for (key, value) in labels.iter().take(MAX_LABELS) {
        if subject.stored.is_some_and(|stored| stored.get(key) == Some(value)) {
            continue;
        }
        let path = format!("labels[\"{key}\"]");
        match check_reserved(subject, labels, key, value) {
            Some(Ok(())) => {}
            Some(Err(reason)) => violations.add(path, reason),
            None => {
                if let Err(reason) = name::check_label_key(key) {
                    violations.add(&path, reason);
                }
                if let Err(reason) = name::check_label_value(value) {
                    violations.add(&path, reason);
                }
            }
        }
    }
}

/// What is to be said of labels under names that are reserved and that no control plane knows: probably a typing error, or meant
/// for another place.
pub fn unknown(subject: &Subject<'_>, labels: &BTreeMap<String, String>) -> Vec<String> {
    const KNOWN: [&str; 13] = [
        DISPLAY_NAME,
        MESH,
        ORIGIN,
        ZONE,
        ENV,
        NAMESPACE,
        MANAGED_BY,
        DELETION_GRACE_PERIOD_STARTED_AT,
        EFFECT,
        HEADLESS,
        POLICY_ROLE,
        KDS_SYNC,
        SERVICE_NAME,
    ];
    let is_reserved = |key: &str| {
        key.split_once('/')
            .is_some_and(|(prefix, _)| prefix == "kuma.io" || prefix.ends_with(".kuma.io"))
    };
    let is_stored = |key: &str| subject.stored.is_some_and(|stored| stored.contains_key(key));
    let unknown = labels
        .keys()
        .filter(|key| is_reserved(key) && !KNOWN.contains(&key.as_str()) && !is_stored(key));
    unknown
        .map(|key| match key.as_str() {
            TAG_SERVICE | TAG_PROTOCOL => {
                format!("labels[\"{key}\"]: has no meaning as a label; it is a tag of the inbounds of a Dataplane")
            }
            _ => format!(
                "labels[\"{key}\"]: is not known, and has no meaning of its own; names that begin with kuma.io/ are reserved, \
                 use another one"
            ),
        })
        .collect()
}

/// Checks one label; `None` if its value is the user's own.
fn check_reserved(
    subject: &Subject<'_>,
    labels: &BTreeMap<String, String>,
    key: &str,
    value: &str,
) -> Option<Result<(), String>> {
    let Subject { kind, mesh, name, .. } = *subject;
    Some(match key {
        DISPLAY_NAME => {
            let namespace = labels.get(NAMESPACE).map_or("", String::as_str);
            if is_display_name(value, name, namespace) {
                Ok(())
            } else {
                Err(differs(value, Some(("the name of the resource", name))))
            }
        }
        MESH if kind.is_mesh_scoped() => expect(value, Some(("the mesh of the resource", mesh))),
        MESH | MANAGED_BY | DELETION_GRACE_PERIOD_STARTED_AT => expect(value, None),
        // The role of a policy depends on its spec and is compared where that is known.
        POLICY_ROLE if PolicyKind::of(kind).is_some() => return None,
        POLICY_ROLE => expect(value, None),
        ORIGIN => check_origin(subject, value),
        ZONE => match subject.role {
            Role::Zone { name, .. } => expect(value, Some(("this zone", name))),
            Role::Global => expect(value, None),
        },
        ENV => expect(value, Some(("this environment", "universal"))),
        EFFECT => check_effect(kind, value),
        _ => return None,
    })
}

/// True if a resource of this core name is known as `display_name`: by its name, or by the part before its namespace.
pub fn is_display_name(display_name: &str, name: &str, namespace: &str) -> bool {
    match name.strip_prefix(display_name) {
        Some("") => true,
        Some(rest) => !namespace.is_empty() && rest.strip_prefix('.') == Some(namespace),
        None => false,
    }
}

/// Checks a value of [`EFFECT`].
///
/// # Errors
/// It is unknown, and the resource would be in effect although its user may mean otherwise.
pub fn check_effect(kind: Kind, value: &str) -> Result<(), String> {
    if PolicyKind::of(kind).is_none() {
        return Err(format!(
            "must be absent: only policies can be in shadow, a {kind} is always in effect"
        ));
    }
    match value {
        EFFECT_SHADOW => Ok(()),
        other => Err(format!(
            "unknown effect \"{other}\", must be \"{EFFECT_SHADOW}\", or absent for a policy in effect"
        )),
    }
}

fn check_origin(subject: &Subject<'_>, value: &str) -> Result<(), String> {
    if ![ORIGIN_GLOBAL, ORIGIN_ZONE].contains(&value) {
        return Err(format!("unknown origin \"{value}\", must be \"global\" or \"zone\""));
    }
    match subject.role {
        _ if !subject.check_origin || value == subject.role.origin() => Ok(()),
        Role::Global => Err("a resource whose origin is a zone can only be changed in that zone".to_owned()),
        Role::Zone { .. } => Err(format!(
            "is \"{value}\", must be \"{ORIGIN_ZONE}\" on what is made in a zone"
        )),
    }
}

/// Compares with what is computed: what it is, and its value; `None` if nothing is.
fn expect(value: &str, computed: Option<(&str, &str)>) -> Result<(), String> {
    match computed {
        Some((_, computed)) if value == computed => Ok(()),
        computed => Err(differs(value, computed)),
    }
}

fn differs(value: &str, computed: Option<(&str, &str)>) -> String {
    match computed {
        Some((what, computed)) => {
            format!("is \"{value}\", must be {what}, \"{computed}\", or absent: control planes compute this label")
        }
        None => format!("is \"{value}\", must be absent: only control planes set this label"),
    }
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
